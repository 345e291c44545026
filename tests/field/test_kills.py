"""The server is killed again and again under load: every part outlives it, and every promise is
kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import psutil

from cli.valkey import free_port
from tests.support.receiver import SECRET, Receiver
from tests.support.up import Running
from tests.support.users import Users
from tests.support.waiting import wait_until

KILLS = 6


def server(running: Running) -> psutil.Process:
    return next(process for process in running.processes() if "server" in process.name())


def parts(running: Running) -> set[int]:
    """Process ids of the web tier, the workers, the webhook worker and the evaluator."""
    return {child.pid for child in psutil.Process(running.process.pid).children()} - {
        server(running).pid
    }


def test_kills_of_the_server_under_load_end_no_part(
    up: Callable[..., Running], receiver: Receiver
) -> None:
    slow = {"PROMPTMILL_ECHO_DELAY": "0.002", "PROMPTMILL_WEBHOOK_ALLOW": receiver.host}
    arguments = (
        "--engine",
        "echo",
        "--model",
        "echo",
        "--workers",
        "2",
        "--port",
        str(free_port()),
    )
    running = up(*arguments, **slow).wait_until_ready()
    before, client = parts(running), running.client()
    assert len(before) == 5
    webhook = {"url": receiver.url, "secret": SECRET, "events": ["job.finished"]}
    with Users(running.server(), webhook) as users:
        for _ in range(KILLS):
            killed = server(running)
            # A ring is under way at almost any moment.
            users.submit_more_than(20)
            killed.kill()
            wait_until(partial(server_came_back, running, killed))
    wait_until(lambda: all(client.job(job)["status"] == "completed" for job in users.jobs[-50:]))
    wait_until(lambda: {call.event["data"]["id"] for call in receiver.calls} >= set(users.jobs))
    assert parts(running) == before, running.said
    assert set(users.statuses) <= {202, 503}, users.statuses


def server_came_back(running: Running, killed: psutil.Process) -> bool:
    found = [
        process
        for process in running.processes()
        if "server" in process.name() and process != killed
    ]
    return bool(found)
