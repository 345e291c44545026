"""Models whose names have colons or percent signs, beside those of earlier versions that listed
them under the same keys."""

from __future__ import annotations

import pytest

from common.store import keys
from common.store.incarnation import Incarnation
from common.store.version import COMPATIBLE, meet_store
from tests.support.store import Mill, card, done

CLASHING = ("x", "x:t", "x:t:u", "x%3At", "x%")


def publish(mill: Mill, *models: str) -> None:
    for model in models:
        mill.fleet.publish(card(model), b"")


def worker_of(mill: Mill, model: str) -> Incarnation:
    incarnation = Incarnation(mill.client, card(model), 30)
    incarnation.register({"host": "h", "pid": "1", "started_at": "0"})
    return incarnation


@pytest.mark.parametrize("interactive", [0, 1])
def test_models_whose_names_have_colons_share_no_keys(mill: Mill, interactive: int) -> None:
    publish(mill, *CLASHING)
    jobs = {
        (model, tenant): mill.submit(1, tenant, model=model, interactive=interactive)
        for model in CLASHING
        for tenant in ("t", "u")
    }
    lists = [
        mill.client.zrange(name, 0, -1)
        for lane in ("ready", "interactive")
        for name in mill.client.keys(f"pm:{lane}:*")
    ]
    assert len(lists) == 3 * len(CLASHING)
    assert all(len({member.startswith(b"job_") for member in members}) == 1 for members in lists), (
        "jobs or tenants"
    )
    for model in CLASHING:
        worker = worker_of(mill, model)
        answer = worker.exchange([], 8)
        assert {run.job_id for run in answer.runs} == {jobs[model, "t"], jobs[model, "u"]}
        worker.exchange(done(answer), 0)
        worker.release()
    assert all(mill.counts(job) == {"succeeded": 1} for job in jobs.values())


def test_jobs_of_clashing_models_of_an_earlier_version_run_each_on_its_own(mill: Mill) -> None:
    """They were listed under the same keys; the first part of today's version lists them anew."""
    publish(mill, "x", "x:t")
    jobs = {
        model: [mill.submit(1, tenant, model=model) for tenant in ("t", "u")]
        for model in ("x", "x:t")
    }
    paused = mill.submit(1, "t", model="x:t")
    mill.store.edit(paused, "paused", 1)
    names = {
        name.decode(): dict(mill.client.zrange(name, 0, -1, withscores=True))
        for name in mill.client.keys("pm:ready*")
    }
    mill.client.delete(*names)
    for name, listed in names.items():
        mill.client.zadd(name.replace("%3A", ":"), listed)
    mill.client.hset(keys.VERSION, mapping={"schema": 2, "compatible": 1, "version": "0"})
    meet_store(mill.client)
    assert int(mill.client.hget(keys.VERSION, "compatible")) == 3, (
        "an older part would list them elsewhere"
    )
    for model, expected in jobs.items():
        answer = worker_of(mill, model).exchange([], 8)
        assert {run.job_id for run in answer.runs} == set(expected)
    mill.store.edit(paused, "paused", 0)
    assert worker_of(mill, "x:t").exchange([], 8).runs[0].job_id == paused


def test_older_parts_are_refused_once_a_name_has_a_colon_and_not_before(mill: Mill) -> None:
    meet_store(mill.client)
    publish(mill, "my-org/plain.name")
    assert int(mill.client.hget(keys.VERSION, "compatible")) == COMPATIBLE
    publish(mill, "llama3:8b")
    assert int(mill.client.hget(keys.VERSION, "compatible")) == 3
    publish(mill, "other")
    meet_store(mill.client)
    assert int(mill.client.hget(keys.VERSION, "compatible")) == 3
