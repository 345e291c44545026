"""Accepted jobs and visible results survive a kill of the server."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from redis.client import Pipeline

from bench.lib.jobs import job_fields
from common.errors import Unavailable
from common.store.admission import NO_LIMITS, Admission
from common.store.connection import connect, redis_errors, when_up
from common.store.sweeps import NewJob, Sweeps, new_sweep_id
from tests.support.valkey import OwnServer
from tests.support.workers import DIGEST, Queue


@pytest.mark.parametrize("appendfsync", ["always", "everysec"])
def test_what_was_acknowledged_survives_the_kill_of_the_server(
    own_server: OwnServer, appendfsync: str
) -> None:
    own_server.start(appendfsync=appendfsync)
    for _ in range(5):
        job_id = Queue(own_server.url).submit(3)
        own_server.kill()
        own_server.start(appendfsync=appendfsync)
        assert Queue(own_server.url).count(job_id, "pending") == 3


def test_under_everysec_the_acknowledgement_waits_for_the_disk(own_server: OwnServer) -> None:
    own_server.start(appendfsync="everysec")
    queue = Queue(own_server.url)
    queue.submit(1)
    stats = queue.store.client.info("commandstats")
    assert stats["cmdstat_waitaof"]["calls"] == 1


def test_under_everysec_script_and_wait_share_one_connection(own_server: OwnServer) -> None:
    """On another WAITAOF would vouch for nothing of ours."""
    own_server.start(appendfsync="everysec")
    queue = Queue(own_server.url)
    queue.submit(1)  # loads the scripts
    with queue.store.client.monitor() as monitor:
        queue.submit(1)
        seen: list[dict[str, Any]] = []
        while not any("WAITAOF" in line["command"] for line in seen):
            seen.append(monitor.next_command())
    scripts = [
        line
        for line in seen
        if line["command"].startswith("EVALSHA") and line["client_type"] != "lua"
    ]
    assert scripts[-1]["client_port"] == seen[-1]["client_port"]
    assert seen.index(scripts[-1]) < len(seen) - 1


def make_sweep(queue: Queue, jobs: int = 3) -> str:
    made = []
    for _ in range(jobs):
        stage = queue.store.stage()
        stage.add({"prompt": "a b"})
        stage.close_for_attach()
        sweep_id = new_sweep_id()
        made.append(NewJob(stage, job_fields("echo", DIGEST, 1, {"params": {}}), 2))
    for job in made:
        job.fields["sweep"] = sweep_id
    fields = {"model": "echo", "items": 1, "varied": "{}", "metadata": "{}"}
    begun = Sweeps(queue.store.client).create(sweep_id, "t", fields, made, limits=NO_LIMITS)
    assert begun.outcome == "new"
    return sweep_id


@pytest.mark.parametrize("appendfsync", ["always", "everysec", "no"])
def test_a_sweep_and_all_its_jobs_survive_the_kill_of_the_server(
    own_server: OwnServer, appendfsync: str
) -> None:
    own_server.start(appendfsync=appendfsync)
    sweep_id = make_sweep(Queue(own_server.url))
    own_server.kill()
    own_server.start(appendfsync=appendfsync)
    sweep = Sweeps(Queue(own_server.url).store.client).get(sweep_id, "t")
    assert [job.counts["pending"] for job in sweep.jobs] == [1, 1, 1]


def test_under_everysec_the_jobs_of_a_sweep_and_the_wait_share_one_connection(
    own_server: OwnServer,
) -> None:
    own_server.start(appendfsync="everysec")
    queue = Queue(own_server.url)
    make_sweep(queue)  # loads the scripts
    with queue.store.client.monitor() as monitor:
        make_sweep(queue)
        seen: list[dict[str, Any]] = []
        while not any("WAITAOF" in line["command"] for line in seen):
            seen.append(monitor.next_command())
    waits = seen[-1]["client_port"]
    sent = [line["command"] for line in seen if line["client_port"] == waits]
    begin, end = sent.index("MULTI"), sent.index("EXEC")
    assert [each.split()[0] for each in sent[begin + 1 : end]] == ["EVALSHA"] * 4


def test_scripts_that_a_restart_forgot_in_the_middle_of_a_sweep_are_loaded_again(
    own_server: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_server.start()
    queue = Queue(own_server.url)
    load = Pipeline.load_scripts
    forgotten: list[bool] = []

    def load_and_forget(self: Pipeline) -> None:
        load(self)
        if not forgotten:
            forgotten.append(queue.store.client.script_flush())

    monkeypatch.setattr(Pipeline, "load_scripts", load_and_forget)
    sweep_id = make_sweep(queue)
    assert forgotten
    assert len(Sweeps(queue.store.client).get(sweep_id, "t").jobs) == 3


def test_a_server_that_never_syncs_is_asked_to_promise_nothing(own_server: OwnServer) -> None:
    own_server.start(appendfsync="no")
    begun = time.monotonic()
    Queue(own_server.url).submit(1)
    assert time.monotonic() - begun < 3


def test_under_always_it_need_not(own_server: OwnServer) -> None:
    own_server.start()
    queue = Queue(own_server.url)
    queue.submit(1)
    assert "cmdstat_waitaof" not in queue.store.client.info("commandstats")


def test_a_job_is_refused_before_the_server_is_full_with_its_results_counted(
    own_server: OwnServer,
) -> None:
    own_server.start(maxmemory="50mb")
    admission = Admission(connect(own_server.url))
    admission.check_memory(1_000_000)
    with pytest.raises(Unavailable, match="memory is spoken for"):
        admission.check_memory(13_000_000)


def test_what_a_starting_worker_does_waits_for_a_server_that_goes_away_meanwhile(
    own_server: OwnServer,
) -> None:
    own_server.start()
    client = connect(own_server.url)
    tries = 0
    over = threading.Event()

    def come_back() -> None:
        own_server.start()
        over.wait(30)  # Linux ends the server with the thread that started it

    back = threading.Timer(2.0, come_back)  # longer than redis-py tries by itself

    def join() -> str:
        nonlocal tries
        tries += 1
        if tries == 1:
            own_server.kill()
            back.start()
        with redis_errors():
            client.set("joined", tries)
        return "joined"

    assert when_up(client, 20, join) == "joined"
    assert client.get("joined") == b"2"
    over.set()
    back.join(20)


def test_it_does_not_wait_for_ever(own_server: OwnServer) -> None:
    own_server.start()
    client = connect(own_server.url)
    own_server.kill()
    with pytest.raises(Unavailable):
        when_up(client, 0.5, client.ping)
