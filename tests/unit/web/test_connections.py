"""How long a process waits for its clients, over real sockets: each limit is lowered to tenths of a
second."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import gevent
import pytest
from gevent import socket
from gunicorn.http.errors import NoMoreData

from common.errors import TooMany, Unavailable
from web.wire import connection as limits
from web.wire import connections
from web.wire.connection import BodyTooSlow, Connection
from web.wire.connections import Connections


@pytest.fixture(autouse=True)
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    shorter = {
        "KEEP": 0.5,
        "HEAD": 0.3,
        "BODY": 0.4,
        "BODY_RATE": 10,
        "LONGEST_BODY": 1.0,
        "SLOW": 0.1,
        "SEND": 0.2,
    }
    for name, value in shorter.items():
        monkeypatch.setattr(limits, name, value)


class Client:
    """Both ends of a connection."""

    def __init__(self, all_of_them: Connections, address: str = "192.0.2.1"):
        ours, self.socket = socket.socketpair()
        self._stack = ExitStack()
        self.connection: Connection = self._stack.enter_context(all_of_them.open(ours, address))
        self._stack.callback(ours.close)
        self._stack.callback(self.socket.close)
        self.slow = 0
        self.ended = 0

    def close(self) -> None:
        self._stack.close()

    def begin(self) -> None:
        self.connection.begin_request(self._count_slow)

    def _count_slow(self) -> Any:
        self.slow += 1
        return self._end

    def _end(self) -> None:
        self.ended += 1

    def trickle(self, seconds: float, piece: bytes = b"a") -> gevent.Greenlet:
        """Sends a piece every twentieth of a second."""

        def send() -> None:
            for _ in range(int(seconds * 20)):
                self.socket.send(piece)
                gevent.sleep(0.05)

        return gevent.spawn(send)

    def receive(self) -> int:
        """Bytes until the limit; raises what the limit does."""
        count = 0
        while data := self.connection.recv(100):
            count += len(data)
        return count


@pytest.fixture
def client() -> Iterator[Client]:
    made = Client(Connections(100, 10))
    yield made
    made.close()


def seconds(action: Any, error: type[BaseException]) -> float:
    began = time.monotonic()
    with pytest.raises(error):
        action()
    return time.monotonic() - began


def test_an_idle_connection_is_closed_after_a_while(client: Client) -> None:
    assert 0.4 < seconds(client.receive, NoMoreData) < 2


def test_headers_that_come_byte_by_byte_have_a_deadline_as_a_whole(client: Client) -> None:
    client.trickle(3)
    assert 0.2 < seconds(client.receive, NoMoreData) < 1.5
    assert client.socket.recv(100).startswith(b"HTTP/1.1 408 ")


def test_a_body_that_never_comes_is_refused(client: Client) -> None:
    client.begin()
    assert 0.3 < seconds(client.receive, BodyTooSlow) < 1.5
    assert client.slow == 1
    client.connection.end_request()
    assert client.ended == 1


def test_a_body_slower_than_the_least_rate_is_refused_though_it_keeps_coming(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BODY_RATE", 1000)
    client.begin()
    client.trickle(3)
    assert 0.3 < seconds(client.receive, BodyTooSlow) < 1.5


def test_a_body_at_the_least_rate_may_take_longer_but_not_for_ever(client: Client) -> None:
    client.begin()
    client.trickle(3)
    assert 0.9 < seconds(client.receive, BodyTooSlow) < 2


def test_a_body_that_comes_at_once_is_no_slow_one(client: Client) -> None:
    client.begin()
    client.socket.sendall(b"a" * 50)
    client.socket.shutdown(socket.SHUT_WR)
    assert client.receive() == 50
    assert client.slow == 0


def test_what_the_app_takes_is_not_the_clients_time(client: Client) -> None:
    client.begin()
    for _ in range(5):
        client.socket.send(b"a")
        gevent.sleep(0.15)  # the app is busy; the byte is there
        assert client.connection.recv(1) == b"a"
    assert client.slow == 0


def test_a_slow_body_over_the_cap_is_refused_with_what_the_cap_says(client: Client) -> None:
    def refuse() -> Any:
        raise TooMany("as many as may be")

    client.connection.begin_request(refuse)
    assert seconds(client.receive, TooMany) < 0.3


def test_a_client_that_does_not_read_is_hung_up_on(client: Client) -> None:
    client.begin()
    assert 0.1 < seconds(lambda: client.connection.sendall(b"a" * 10_000_000), BrokenPipeError) < 2


def test_a_client_that_reads_slowly_gets_all(client: Client) -> None:
    client.begin()
    got: list[int] = []

    def read() -> None:
        while sum(got) < 2_000_000:
            got.append(len(client.socket.recv(100_000)))
            gevent.sleep(0.02)

    reader = gevent.spawn(read)
    client.connection.sendall(b"a" * 2_000_000)
    reader.join(5)
    assert sum(got) == 2_000_000


def test_when_nearly_all_are_open_those_close_that_wait_longest_of_the_address_with_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "ROOM", 2)
    monkeypatch.setattr(limits, "KEEP", 5)
    monkeypatch.setattr(limits, "BODY", 5)
    monkeypatch.setattr(limits, "SLOW", 5)
    everyone = Connections(12, 2)
    closed: list[str] = []
    serving: list[gevent.Greenlet] = []

    def serve(name: str, client: Client) -> None:
        try:
            client.receive()
        except (NoMoreData, Unavailable) as error:
            closed.append(f"{name} {type(error).__name__}")
        finally:
            client.close()

    def arrive(name: str, address: str, body: bool = False) -> None:
        client = Client(everyone, address)
        if body:
            client.begin()
        serving.append(gevent.spawn(serve, name, client))
        gevent.sleep(0.01)

    working = [Client(everyone, "192.0.2.1") for _ in range(3)]
    for client in working:
        client.begin()  # and waits for nothing
    arrive("friend", "192.0.2.2")
    for number in range(6):
        arrive(f"crowd {number}", "192.0.2.3", body=number == 1)
    assert closed == []
    arrive("next", "192.0.2.3")
    gevent.sleep(0.01)
    assert closed == ["crowd 0 NoMoreData", "crowd 1 Unavailable"]
    arrive("one more", "192.0.2.4")
    assert len(closed) == 2, "there was room for it"
    everyone.leave()
    for client in working:
        client.close()
    gevent.joinall(serving, timeout=5)
    assert len(closed) == 9
