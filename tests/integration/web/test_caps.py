"""What a tenant keeps open: so much over all web processes, and no longer than its key or session
is good."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import requests

from cli.valkey import Valkey
from tests.support.waiting import wait_until
from tests.support.web import Web
from tests.support.web_process import WebProcess

MOST = 8  # event streams and long-polls
CHATS = 20
ENDS = 5.0  # seconds until a revoked key's streams are ended


@pytest.fixture(scope="module")
def running(valkey: Valkey) -> Iterator[WebProcess]:
    server = WebProcess(
        valkey.url, web_processes=2, max_streams=MOST, max_chats=CHATS, worker_wait=30
    )
    yield server
    server.stop()


class Opened:
    """Requests that stay open, each over a connection of its own."""

    def __init__(self, server: WebProcess, stack: ExitStack):
        self._server = server
        self._stack = stack

    def get(self, path: str, key: str = "", **options: Any) -> requests.Response:
        return self.send("GET", path, key, **options)

    def send(self, method: str, path: str, key: str = "", **options: Any) -> requests.Response:
        session = self._stack.enter_context(requests.Session())
        session.trust_env = False
        headers = {} if "cookies" in options else dict(self._server.session.headers)
        headers |= {"Authorization": f"Bearer {key}"} if key else {}
        url = self._server.url + path
        return self._stack.enter_context(
            session.request(method, url, headers=headers, stream=True, timeout=30, **options)
        )

    def ask(self, key: str = "") -> socket.socket:
        """Sends a completion, which nobody is there to answer."""
        client = self._stack.enter_context(
            socket.create_connection(("127.0.0.1", self._server.port), timeout=20)
        )
        authorization = f"Bearer {key}" if key else self._server.session.headers["Authorization"]
        body = b'{"model": "echo", "prompt": "a"}'
        head = f"Host: x\r\nContent-Type: application/json\r\nAuthorization: {authorization}\r\n"
        client.sendall(
            f"POST /v1/completions HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        return client


def waiting(client: socket.socket) -> bool:
    """Whether it was not refused: that would have come by now."""
    return not select.select([client], [], [], 1.0)[0]


@pytest.fixture
def opened(server: WebProcess) -> Iterator[Opened]:
    with ExitStack() as stack:
        yield Opened(server, stack)


def test_a_tenant_has_so_many_streams_over_all_processes_and_others_are_not_touched(
    server: WebProcess, web: Web, opened: Opened
) -> None:
    job = web.submit("a")
    streams = [opened.get(f"/v1/jobs/{job}/events") for _ in range(MOST)]
    assert [stream.status_code for stream in streams] == [200] * MOST
    for path in (f"/v1/jobs/{job}/events", f"/v1/jobs/{job}?wait=5"):
        refused = opened.get(path)
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_open")
        assert refused.headers["Retry-After"] == "2"
        assert str(MOST) in refused.json()["detail"]
    assert server.get(f"/v1/jobs/{job}").status_code == 200
    assert waiting(opened.ask()), "chats are not counted with them"
    other = web.services.api_keys.create_key("other")
    theirs = opened.send("POST", "/v1/jobs", other, json={"prompts": ["a"]}).json()["id"]
    assert opened.get(f"/v1/jobs/{theirs}/events", other).status_code == 200
    streams[0].close()
    wait_until(lambda: opened.get(f"/v1/jobs/{job}/events").status_code == 200)


def test_a_tenant_has_so_many_chats_too(server: WebProcess, opened: Opened, web: Web) -> None:
    key = web.services.api_keys.create_key("chatty")
    asked = [opened.ask(key) for _ in range(CHATS + 5)]
    wait_until(lambda: len(select.select(asked, [], [], 0)[0]) >= 5)
    refused = select.select(asked, [], [], 1)[0]
    assert all(client.recv(4096).startswith(b"HTTP/1.1 429 ") for client in refused)
    assert len(refused) <= 5 + 16  # another process may hold so many ahead
    assert waiting(opened.ask(web.services.api_keys.create_key("other")))


def test_what_killed_processes_had_open_counts_no_more(
    server: WebProcess, web: Web, opened: Opened
) -> None:
    job = web.submit("a")
    for _ in range(MOST):
        opened.get(f"/v1/jobs/{job}/events")
    before = server.children()
    for process in before:
        process.kill()
    wait_until(lambda: len(server.children()) == 2 and not set(before) & set(server.children()))
    time.sleep(5)  # the leases
    again = [opened.get(f"/v1/jobs/{job}/events").status_code for _ in range(MOST + 1)]
    assert again == [200] * MOST + [429]


def ends_within(response: requests.Response, seconds: float) -> bytes:
    """What it still says; fails if it goes on for longer."""
    began = time.monotonic()
    said = b""
    try:
        for piece in response.iter_content(None):
            said += piece
            assert time.monotonic() - began < seconds
    except requests.ConnectionError:
        pass  # broken off
    assert time.monotonic() - began < seconds
    return said


def test_a_revoked_keys_streams_end(server: WebProcess, web: Web, opened: Opened) -> None:
    key, other = (web.services.api_keys.create_key("leaver") for _ in range(2))
    job = opened.send("POST", "/v1/jobs", key, json={"prompts": ["a"]}).json()["id"]
    mine, kept = (opened.get(f"/v1/jobs/{job}/events", of) for of in (key, other))
    asked = opened.ask(key)
    polled: list[int] = []
    poll = threading.Thread(
        target=lambda: polled.append(opened.get(f"/v1/jobs/{job}?wait=30", key).status_code)
    )
    poll.start()
    next(mine.iter_content(None))
    web.services.api_keys.revoke_key(key)
    ends_within(mine, ENDS)
    assert asked.recv(4096).startswith(b"HTTP/1.1 401 ")
    poll.join(ENDS)
    assert polled == [401]
    web.worker().run()
    assert b"job.finished" in b"".join(kept.iter_content(None)), "another key's stream goes on"


@pytest.mark.parametrize("way", ["logout", "the last key"])
def test_an_ended_sessions_streams_end(
    server: WebProcess, web: Web, opened: Opened, way: str
) -> None:
    key = web.services.api_keys.create_key("guest")
    job = opened.send("POST", "/v1/jobs", key, json={"prompts": ["a"]}).json()["id"]
    with requests.Session() as browser:
        browser.trust_env = False
        browser.post(
            f"{server.url}/login",
            data={"token": web.services.sessions.create_login("guest")},
            timeout=10,
        )
        cookies = browser.cookies.copy()
    stream = opened.get(f"/v1/jobs/{job}/events", cookies=cookies)
    assert stream.status_code == 200
    if way == "logout":
        web.services.sessions.end_sessions("guest")
    else:
        web.services.api_keys.revoke_key(key)
    ends_within(stream, ENDS)
