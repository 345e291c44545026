"""Operators drain workers: a drained worker takes nothing more and finishes what it has; nobody
else stops a worker, which all tenants share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.web import Web


@pytest.fixture
def web(make_web: Callable[..., Web]) -> Web:
    return make_web(operators="ops, acme")


def drained(web: Web, worker: str, way: str = "drain", key: str | None = None) -> int:
    return web.call("POST", f"/v1/workers/{worker}/{way}", key=key).status_code


def test_a_drained_worker_takes_nothing_and_finishes_what_it_has(web: Web) -> None:
    job_id, worker = web.submit("a", "b", "c", "d"), web.worker()
    taken = worker.take(2)
    assert drained(web, worker.incarnation.id) == 200
    (shown,) = web.get("/v1/workers").json["data"]
    assert (shown["drained"], shown["held"]) == (True, 2)
    assert worker.take().runs == []
    worker.finish(taken)
    assert worker.take().runs == []
    assert web.get(f"/v1/jobs/{job_id}").json["counts"]["succeeded"] == 2
    assert drained(web, worker.incarnation.id, "resume") == 200
    worker.run()
    assert web.get(f"/v1/jobs/{job_id}").json["counts"]["succeeded"] == 4


def test_another_worker_goes_on(web: Web) -> None:
    job_id, worker, other = web.submit("a", "b"), web.worker(), web.worker()
    drained(web, worker.incarnation.id)
    assert worker.take().runs == []
    other.run()
    assert web.get(f"/v1/jobs/{job_id}").json["status"] == "completed"


def test_a_job_waits_for_a_worker_that_takes_items(web: Web) -> None:
    job_id, worker = web.submit("a"), web.worker()
    assert web.get(f"/v1/jobs/{job_id}").json["waiting_for"] is None
    drained(web, worker.incarnation.id)
    assert web.get(f"/v1/jobs/{job_id}").json["waiting_for"] == "worker"


def test_the_tick_wakes_no_drained_worker(web: Web) -> None:
    worker = web.worker()
    worker.take()
    drained(web, worker.incarnation.id)
    web.submit("a")
    assert web.services.fleet.tick(5.0, 3).rings == {}
    assert web.services.redis.zcard("pm:room:echo") == 0


def test_only_operators_drain(web: Web, make_web: Callable[..., Web]) -> None:
    worker = web.worker()
    other = web.services.api_keys.create_key("other")
    answer = web.call("POST", f"/v1/workers/{worker.incarnation.id}/drain", key=other)
    assert (answer.status_code, answer.json["code"]) == (403, "not_allowed")
    assert "PROMPTMILL_OPERATORS" in answer.json["detail"]
    assert drained(web, worker.incarnation.id, key=web.services.api_keys.create_key("ops")) == 200
    assert drained(make_web(), worker.incarnation.id) == 403  # nobody is one unless named


def test_a_worker_that_is_not_there_is_not_found(web: Web) -> None:
    for name in ("nobody", "x" * 300, "%00", "a:b"):
        assert drained(web, name) == 404
    assert web.services.redis.keys("pm:worker:*") == []
