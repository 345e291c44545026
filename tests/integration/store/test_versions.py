"""Parts of different versions on one store: what is compatible works, what is not is refused with a
sentence.

`schema_1/` has the scripts of the last version that kept no record of itself, as they were;
`PreviousWorker` calls them as its worker did.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from bench.lib.jobs import job_fields
from cli.valkey import free_port
from common.errors import ConfigError, Unavailable
from common.store import keys
from common.store.packing import pack
from common.store.scripts import SCHEMA
from common.store.version import COMPATIBLE, meet_store
from tests.support.store import Mill, done, taken

PREVIOUS = Path(__file__).parent / "schema_1"
NEWER = {"schema": SCHEMA + 5, "compatible": SCHEMA + 5, "version": "9.9"}


class PreviousWorker:
    """A worker of schema 1."""

    def __init__(self, client: redis.Redis, name: str = "previous", slots: int = 8):
        self.client, self.id, self.call = client, name, 0
        lib = (PREVIOUS / "lib.lua").read_text()
        self.scripts = {
            path.stem: client.register_script(f"#!lua flags=allow-oom\n{lib}\n{path.read_text()}")
            for path in PREVIOUS.glob("*.lua")
            if path.stem != "lib"
        }
        fields = {
            "model": "m",
            "digest": "d",
            "engine": "echo",
            "device": "cpu",
            "host": "h",
            "pid": "1",
            "started_at": "0",
            "slots": slots,
            "room": slots,
            "call": "",
        }
        client.hset(f"pm:worker:{name}", mapping=fields)
        client.zadd("pm:workers", {name: int(client.time()[0]) * 1000 + 5000})

    def run(self, script: str, *args: Any) -> Any:
        return self.scripts[script](keys=(), args=args)

    def exchange(self, results: list[Any], room: int) -> list[tuple[str, int, int]]:
        """Hands results in and answers what it was given: (job, index, attempt)."""
        self.call += 1
        answer = json.loads(self.run("exchange", self.id, self.call, room, 0, *results))
        assert not answer["refused"]
        return [
            (job, first + i, attempt)
            for job, first, count, attempt, *_ in answer["runs"]
            for i in range(count)
        ]

    def results(self, held: list[tuple[str, int, int]]) -> list[Any]:
        blob = pack({"outputs": [{"text": "previous"}]})
        return [part for slot in held for part in (*slot, "succeeded", 3, 5, blob)]

    def attach(self, name: str) -> str:
        """A job of three items, as that version's web tier submitted it."""
        items = [{"prompt": f"prompt {i}", "custom_id": f"c{i}"} for i in range(3)]
        fields = {
            "tenant": "t",
            "model": "m",
            "digest": "d",
            "total": 3,
            "cost": 10,
            "n_max": 1,
            "priority": 0,
            "token_budget": 0,
            "error_rate": 0,
            "hooks": "job.finished",
            "retention": 1000,
            "spec": json.dumps({"model": "m", "params": {"max_tokens": 7}}),
            "bytes": 100,
        }
        flat = [part for pair in fields.items() for part in pair]
        job_id = f"job_0{name}"
        outcome, _, _ = self.run("attach", job_id, name, "", "", 0, *[0] * 6, pack(items), *flat)
        assert outcome == b"new"
        return job_id


def test_a_part_writes_down_its_schema_once(mill: Mill) -> None:
    meet_store(mill.client)
    record = mill.client.hgetall(keys.VERSION)
    assert (int(record[b"schema"]), int(record[b"compatible"])) == (SCHEMA, COMPATIBLE)
    assert COMPATIBLE <= SCHEMA
    meet_store(mill.client)
    assert mill.client.hgetall(keys.VERSION) == record


def test_a_part_works_beside_a_newer_one_that_says_it_may(mill: Mill) -> None:
    mill.client.hset(keys.VERSION, mapping=NEWER | {"compatible": SCHEMA})
    meet_store(mill.client)
    assert int(mill.client.hget(keys.VERSION, "schema")) == NEWER["schema"], (
        "the newer part's record stays"
    )
    mill.submit(1)


def test_a_part_that_is_too_old_can_do_nothing_in_the_store(
    mill: Mill, key_snapshot: Callable[[], set[str]]
) -> None:
    worker = mill.worker()
    mill.client.hset(keys.VERSION, mapping=NEWER)
    before = key_snapshot()
    with pytest.raises(ConfigError, match="takes parts from schema"):
        meet_store(mill.client)
    for move in (
        lambda: mill.submit(1),
        lambda: worker.exchange([], 1),
        worker.heartbeat,
        worker.release,
    ):
        with pytest.raises(Unavailable) as refused:
            move()
        assert refused.value.code == "outdated"
    assert {key for key in key_snapshot() - before if ":stage:" not in key} == set()


@pytest.mark.parametrize("part", ["serve", "webhooks", "evaluator", "worker"])
def test_a_part_that_is_too_old_ends_with_a_sentence(mill: Mill, redis_url: str, part: str) -> None:
    mill.client.hset(keys.VERSION, mapping=NEWER)
    env = os.environ | {
        "REDIS_URL": redis_url,
        "PROMPTMILL_MODEL": "echo",
        "PROMPTMILL_PORT": str(free_port()),
    }
    ended = subprocess.run(
        [sys.executable, "-m", "cli.main", part],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 2, ended.stderr
    assert "used by promptmill 9.9" in ended.stderr + ended.stdout
    assert "update it" in ended.stderr + ended.stdout


def test_a_worker_of_the_previous_version_runs_what_todays_web_tier_submits(mill: Mill) -> None:
    meet_store(mill.client)
    job_id, worker = mill.submit(6), PreviousWorker(mill.client)
    held = worker.exchange([], 4)
    assert held == [(job_id, index, 1) for index in range(4)]
    assert worker.run("heartbeat", worker.id, 5000, str(worker.call), 4, job_id)[0] == 1
    assert worker.exchange(worker.results(held), 0) == []
    mill.store.edit(job_id, "paused", 1)
    assert worker.exchange([], 8) == []
    mill.store.edit(job_id, "paused", 0)
    todays = mill.worker()
    answer = todays.exchange([], 1)
    assert taken(answer) == [(job_id, 4, 1)], "both serve one job"
    held = worker.exchange([], 8)
    todays.exchange(done(answer), 0)
    worker.exchange(worker.results(held), 0)
    assert mill.counts(job_id) == {"succeeded": 6}
    assert mill.store.job(job_id).status == "completed"


def test_what_a_worker_of_the_previous_version_leaves_todays_go_on_with(mill: Mill) -> None:
    job_id, worker, other = (
        mill.submit(5),
        PreviousWorker(mill.client),
        PreviousWorker(mill.client, "lost"),
    )
    assert len(worker.exchange([], 2)) == 2
    assert len(other.exchange([], 2)) == 2
    slot = f"{job_id} 0"
    worker.run("checkpoint", worker.id, 5000, 1, pack({slot: [[0, [1, 2]]]}), slot)
    worker.run("release", worker.id)
    mill.client.zadd(keys.WORKERS, {other.id: 1})
    mill.tick()
    todays = mill.worker()
    for _ in range(8):
        todays.exchange(done(todays.exchange([], 8)), 0)
    assert mill.counts(job_id) == {"succeeded": 5}


def test_jobs_of_the_previous_version_open_with_todays_parts(mill: Mill) -> None:
    """As in the data folder of an `up` that was updated: waiting, running, paused and finished
    jobs, and an append."""
    worker = PreviousWorker(mill.client)
    jobs = {"finished": worker.attach("finished")}
    worker.exchange(worker.results(worker.exchange([], 3)), 0)
    jobs["paused"] = worker.attach("paused")
    worker.run("edit", jobs["paused"], "paused", 1)
    jobs["running"] = worker.attach("running")
    assert len(worker.exchange([], 2)) == 2
    jobs["waiting"] = worker.attach("waiting")
    meet_store(mill.client)
    assert [row["outputs"][0]["text"] for row in mill.store.rows(jobs["finished"], 0, 3)] == [
        "previous"
    ] * 3
    assert [item["custom_id"] for item in mill.store.items(jobs["waiting"], 0, 3)] == [
        "c0",
        "c1",
        "c2",
    ]
    mill.store.edit(jobs["paused"], "paused", 0)
    mill.lose(worker)
    mill.tick()
    todays = mill.worker()
    for _ in range(12):
        todays.exchange(done(todays.exchange([], 8)), 0)
    for job_id in jobs.values():
        assert mill.counts(job_id) == {"succeeded": 3}
        mill.store.delete(job_id)
    assert mill.client.hgetall("pm:queued:t") == {b"items": b"0", b"tokens": b"0", b"bytes": b"0"}


def test_suspects_that_the_previous_version_left_run_again(mill: Mill) -> None:
    """Its tick reaped a worker; today's find items with an attempt charged that nobody listed for
    them."""
    job_id, worker = mill.submit(3), PreviousWorker(mill.client)
    for field in ("indexed", "suspected", "streams"):
        mill.client.hdel(keys.job(job_id), field)
    assert len(worker.exchange([], 8)) == 3
    mill.lose(worker)
    mill.client.hset("pm:tick", "at", str(mill.store.now() - 1000))
    worker.run("tick", 5000, 3, 0)
    assert mill.client.zrange(keys.job(job_id, "retry"), 0, -1, withscores=True)[0][1] >= 2**32
    todays = mill.worker()
    for _ in range(8):
        todays.exchange(done(todays.exchange([], 8)), 0)
    assert mill.counts(job_id) == {"succeeded": 3}


def test_what_the_previous_version_leaves_of_a_job_that_it_removes_goes_with_a_tick(
    mill: Mill, key_snapshot: Callable[[], set[str]]
) -> None:
    """It knows neither sides nor how prompts are made; its idempotency keys end by themselves."""
    worker = PreviousWorker(mill.client)
    mill.tick()
    before = key_snapshot()
    stage = mill.store.stage()
    stage.add({"prompt": "x"}, {"vars": {"a": "b"}})
    stage.prep = {"columns": ["a"]}
    stage.close_for_attach()
    fields = job_fields("m", "d", 1, {"params": {}})
    mill.store.attach(stage, fields, job_id="job_0a", idempotency=("key", "content"))
    mill.client.zadd(keys.job("job_0a", "idem"), {"pm:idem:t:key": 1})  # used long ago
    mill.store.cancel("job_0a")
    mill.client.zadd(keys.DUE, {"purge:job_0a": 1})
    mill.client.hdel("pm:tick", "purge_from")
    mill.client.hset("pm:tick", "at", str(mill.store.now() - 1000))
    worker.run("tick", 5000, 3, 0)
    assert not mill.client.exists(keys.job("job_0a"))
    assert mill.client.exists(keys.job("job_0a", "side")), "it leaves this"
    mill.tick()
    left = {name for name in key_snapshot() - before if "job_0a" in name or "idem" in name}
    assert left == set()
    assert not mill.client.exists("pm:beside")


def test_a_job_keeps_its_parts_while_ticks_look_for_what_is_left_of_others(mill: Mill) -> None:
    job_id = mill.submit(1, idempotency=("key", "content"))
    mill.tick()
    mill.tick()
    assert mill.client.exists(keys.job(job_id, "idem"), "pm:idem:t:key", "pm:beside") == 3
