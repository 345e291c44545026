"""Clients that send slowly, to two web processes: a few may, of each address, and nobody else waits
for them."""

from __future__ import annotations

import resource
import selectors
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import pytest

from cli.valkey import Valkey
from tests.support.web_process import WebProcess

MOST = 20  # slow bodies of an address
MANY = 600
BEGINNING = (
    "POST /login HTTP/1.1\r\nHost: x\r\n{headers}Content-Type: "
    "application/x-www-form-urlencoded\r\n"
)


@pytest.fixture(scope="module")
def running(valkey: Valkey) -> Iterator[WebProcess]:
    server = WebProcess(
        valkey.url, web_processes=2, max_slow_bodies=MOST, trusted_proxies="127.0.0.1"
    )
    yield server
    server.stop()


class Slow:
    """Connections that each sent the beginning of a request."""

    def __init__(self, server: WebProcess):
        self._server = server
        self._selector = selectors.DefaultSelector()
        self.open: list[socket.socket] = []
        self.statuses: Counter[str] = Counter()

    def __enter__(self) -> Slow:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self.open:
            client.close()

    def begin(self, count: int, address: str = "", chunked: bool = False) -> None:
        headers = f"X-Forwarded-For: {address}\r\n" if address else ""
        length = (
            "Transfer-Encoding: chunked\r\n\r\n400\r\n"
            if chunked
            else "Content-Length: 10000\r\n\r\n"
        )
        for _ in range(count):
            client = socket.create_connection(("127.0.0.1", self._server.port), timeout=20)
            client.sendall((BEGINNING.format(headers=headers) + length).encode())
            client.setblocking(False)
            self.open.append(client)
            self._selector.register(client, selectors.EVENT_READ)

    def look(self) -> None:
        """Takes the answers that have come."""
        for key, _ in self._selector.select(0.05):
            client = key.fileobj
            assert isinstance(client, socket.socket)
            with suppress(ConnectionResetError):
                if answer := client.recv(4096):
                    self.statuses[answer.decode().split()[1]] += 1
            self._selector.unregister(client)
            self.open.remove(client)
            client.close()

    def wait_until(self, open_: int, limit: float = 30.0) -> None:
        end = time.monotonic() + limit
        while len(self.open) > open_:
            for client in self.open:
                with suppress(OSError):
                    client.send(b"a")
            self.look()
            assert time.monotonic() < end, f"{len(self.open)} are open, {self.statuses}"


@pytest.fixture(scope="module", autouse=True)
def enough_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(4 * MANY, hard)), hard))


def test_however_many_send_slowly_the_others_are_answered(server: WebProcess) -> None:
    """All from one address, which the others have too."""
    with Slow(server) as slow:
        slow.begin(MANY)
        slow.wait_until(MOST)
        assert slow.statuses["429"] > MANY / 2
        for path in ("/healthz", "/v1/jobs"):
            began = time.monotonic()
            assert server.get(path).status_code == 200
            assert time.monotonic() - began < 1
        slow.wait_until(0)
        assert slow.statuses["429"] + slow.statuses["408"] == MANY
        # A few more, where a slow machine takes ten seconds to refuse the others.
        assert slow.statuses["408"] >= MOST


def test_each_address_behind_a_trusted_proxy_has_its_own_allowance(server: WebProcess) -> None:
    with Slow(server) as slow:
        slow.begin(MOST + 5, "192.0.2.1", chunked=True)
        slow.begin(MOST - 5, "192.0.2.2, 127.0.0.1")
        slow.wait_until(2 * MOST - 5)
        time.sleep(0.5)
        slow.look()
        assert (len(slow.open), slow.statuses) == (2 * MOST - 5, {"429": 5})


def test_what_a_killed_process_had_counts_no_more(server: WebProcess) -> None:
    first, second = server.children()
    with Slow(server) as slow:
        slow.begin(MOST, "192.0.2.3")
        time.sleep(2)
        for process in (first, second):
            process.kill()
        slow.wait_until(0)
        time.sleep(5)  # the leases
        slow.begin(MOST + 1, "192.0.2.3")
        slow.wait_until(MOST)
        assert slow.statuses["429"] == 1


def test_a_body_that_is_slow_for_a_while_is_taken(server: WebProcess) -> None:
    body = b'{"prompts": ["a b c"]}'
    head = (
        "POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: "
        f"{server.session.headers['Authorization']}\r\n"
    )
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(head.encode())
        for byte in body:
            client.sendall(bytes([byte]))
            time.sleep(0.08)
        assert client.recv(4096).startswith(b"HTTP/1.1 202 ")
