"""Several processes of the web tier on one port: each answers everything, and what keeps one busy
leaves the others."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest
import requests

from cli.valkey import Valkey
from tests.support.waiting import wait_until
from tests.support.web import Web
from tests.support.web_process import WebProcess


@pytest.fixture(scope="module")
def running(valkey: Valkey) -> Iterator[WebProcess]:
    server = WebProcess(valkey.url, web_processes=2)
    yield server
    server.stop()


@contextmanager
def stopped(process: psutil.Process) -> Iterator[None]:
    """A process that is busy does as much as one that is stopped."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def fresh(server: WebProcess, method: str, path: str, **options: Any) -> requests.Response:
    """Over a connection of its own, which either process may get."""
    with requests.Session() as session:
        session.trust_env = False
        if "cookies" not in options:
            options["headers"] = dict(server.session.headers) | options.get("headers", {})
        return session.request(method, server.url + path, timeout=10, **options)


def test_while_one_process_is_busy_the_other_answers(server: WebProcess) -> None:
    wait_until(lambda: len(server.children()) == 2)
    for process in server.children():
        with stopped(process):
            for _ in range(5):
                began = time.monotonic()
                assert fresh(server, "GET", "/v1/jobs").status_code == 200
                assert time.monotonic() - began < 1


def test_what_one_process_did_the_other_knows(server: WebProcess, web: Web) -> None:
    """A login, a job and its idempotency key: made in one process, used in the other."""
    wait_until(lambda: len(server.children()) == 2)
    first, second = server.children()
    with stopped(second):
        token = web.services.sessions.create_login("acme")
        with requests.Session() as browser:
            browser.trust_env = False
            browser.post(
                f"{server.url}/login", data={"token": token}, timeout=10
            ).raise_for_status()
            cookies = browser.cookies.copy()
        job = {"json": {"prompts": ["a"]}, "headers": {"Idempotency-Key": "once"}}
        made = fresh(server, "POST", "/v1/jobs", **job).json()["id"]
    with stopped(first):
        assert fresh(server, "GET", f"/jobs/{made}", cookies=cookies).status_code == 200
        again = fresh(server, "POST", "/v1/jobs", **job)
        assert (again.json()["id"], again.headers["Idempotent-Replayed"]) == (made, "true")


def test_a_change_wakes_those_who_wait_in_every_process(server: WebProcess, web: Web) -> None:
    wait_until(lambda: len(server.children()) == 2)
    job = fresh(server, "POST", "/v1/jobs", json={"prompts": ["a"]}).json()["id"]
    streams = []
    for process in server.children():
        with stopped(process), requests.Session() as session:
            session.trust_env = False
            url = f"{server.url}/v1/jobs/{job}/events"
            streams.append(
                session.get(url, headers=dict(server.session.headers), stream=True, timeout=10)
            )
    web.worker().run()
    for stream in streams:
        assert b"event: job.finished" in list(stream.iter_lines())


def test_a_process_that_is_killed_is_replaced_and_missed_by_nobody(server: WebProcess) -> None:
    wait_until(lambda: len(server.children()) == 2)
    killed = server.children()[0]
    killed.kill()
    for _ in range(10):
        assert fresh(server, "GET", "/v1/jobs").status_code == 200
    wait_until(lambda: len(server.children()) == 2 and killed not in server.children())
