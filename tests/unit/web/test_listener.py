"""Which connections are begun with first: those whose request is all there."""

from __future__ import annotations

import socket as plain
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from gevent import socket
from gevent.pool import Pool

from web.wire import listener
from web.wire.listener import Listener, is_whole

POST = b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    ("sent", "whole"),
    [
        (b"", None),
        (b"GET / HTTP/1.1\r\nHost: x\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", True),
        (POST + b"Content-Length: 3\r\n\r\nab", False),
        (POST + b"content-length:3\r\n\r\nabc", True),
        (POST + b"Content-Length: 0\r\n\r\n", True),
        (POST + b"Content-Length: 99999999999999\r\n\r\nabc", True),  # gunicorn's to refuse
        (POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", False),
    ],
)
def test_a_request_is_whole_when_nothing_of_it_is_to_come(sent: bytes, whole: bool | None) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(sent)
        assert is_whole(ours) is whole


@pytest.fixture
def begun() -> Iterator[tuple[Any, list[bytes]]]:
    """A listener's address, and how the requests begin that were begun with, in that order."""
    found: list[bytes] = []

    def handle(client: Any, _address: Any) -> None:
        found.append(client.recv(100, 2))  # MSG_PEEK
        client.recv(100)

    server = Listener(("127.0.0.1", 0), handle=handle, spawn=Pool(50))
    server.start()
    yield server.address, found
    server.stop()


def test_what_is_whole_goes_before_all_that_is_not(
    begun: tuple[Any, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "BEGIN", 1)
    address, found = begun
    clients = []
    for sent in [*[b"POST"] * 20, b"GET / HTTP/1.1\r\n\r\n"]:
        clients.append(plain.create_connection(address))  # all, before the listener's turn comes
        clients[-1].sendall(sent)
    with gevent.Timeout(5):
        while len(found) < 21:
            gevent.sleep(0.01)
    assert found.index(b"GET / HTTP/1.1\r\n\r\n") < 12, "those before it had a few rounds more"
    for client in clients:
        client.close()


def test_every_connection_gets_its_turn_also_one_that_sends_nothing(
    begun: tuple[Any, list[bytes]],
) -> None:
    address, found = begun
    silent = socket.create_connection(address)
    late = socket.create_connection(address)
    gevent.sleep(0.1)
    late.sendall(b"GET")
    with gevent.Timeout(5):
        while not found:
            gevent.sleep(0.01)
    silent.close()
    late.close()


def test_a_crowd_that_sends_nothing_leaves_room_for_the_next_client() -> None:
    answered: list[bytes] = []
    server = Listener(
        ("127.0.0.1", 0), handle=lambda client, _: answered.append(client.recv(100)), spawn=Pool(50)
    )
    server.start()
    crowd = [socket.create_connection(server.address) for _ in range(120)]
    gevent.sleep(0.2)
    with gevent.Timeout(5), socket.create_connection(server.address) as client:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        while not answered:
            gevent.sleep(0.01)
    open_still = [each for each in crowd if not _is_closed(each)]
    assert len(open_still) == 45, "a tenth is kept free"
    server.stop()
    for each in crowd:
        each.close()


def _is_closed(client: Any) -> bool:
    client.settimeout(0.0)
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True
