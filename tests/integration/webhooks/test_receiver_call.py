"""One POST to a receiver, against real sockets."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from common.allowed import Allowed
from tests.support.receiver import Receiver
from tests.support.webhook_calls import HEADERS, resolve_to, send
from worker.receiver_call import ReceiverCall
from worker.receivers import ReceiverUnreachable


def test_what_the_other_side_says_is_not_told(receive: Callable[..., Receiver]) -> None:
    """A banner of some service behind an allowed host, which is no HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def talk() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"SSH-2.0-secret_1.0\r\n")

        threading.Thread(target=talk, daemon=True).start()
        with pytest.raises(ReceiverUnreachable) as problem:
            send(f"http://127.0.0.1:{server.getsockname()[1]}/", Allowed.parse("127.0.0.1"))
    assert "secret" not in str(problem.value)


def test_a_redirect_is_not_followed(receive: Callable[..., Receiver]) -> None:
    receiver, elsewhere = receive(302), receive()
    receiver.headers = {"location": elsewhere.url}
    assert send(receiver.url, Allowed.parse("127.0.0.1")) == 302
    assert elsewhere.calls == []


def test_the_first_address_that_connects_is_taken(
    monkeypatch: pytest.MonkeyPatch, receive: Callable[..., Receiver]
) -> None:
    receiver = receive()
    resolve_to(monkeypatch, ["::1", "127.0.0.1"])  # the receiver listens on the second only
    assert send(f"http://inside.example:{receiver.port}/", Allowed.parse("inside.example")) == 200


def test_nobody_listening_is_unreachable() -> None:
    with pytest.raises(ReceiverUnreachable, match="cannot connect"):
        send("http://127.0.0.1:9/", Allowed.parse("127.0.0.1"))


def test_a_name_without_address_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: Any, **_options: Any) -> NoReturn:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(ReceiverUnreachable, match=r"nowhere\.example does not resolve"):
        send("http://nowhere.example/")


def test_a_slow_resolver_a_silent_receiver_and_a_dripping_one_all_end_in_time(
    monkeypatch: pytest.MonkeyPatch, receive: Callable[..., Receiver]
) -> None:
    silent, dripping = receive(), receive()
    silent.hold.clear()
    dripping.drip = True
    for url in (silent.url, dripping.url):
        begun = time.monotonic()
        with pytest.raises(ReceiverUnreachable, match=r"no answer within 0\.5 s"):
            send(url, Allowed.parse("127.0.0.1"), timeout=0.5)
        assert time.monotonic() - begun < 8

    def lookup(*_args: Any, **_options: Any) -> list[Any]:
        time.sleep(1.0)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    with pytest.raises(ReceiverUnreachable, match=r"no answer within 0\.1 s"):
        send("http://slow.example/", timeout=0.1)


def test_a_call_that_was_given_up_does_not_connect_later(
    monkeypatch: pytest.MonkeyPatch, receive: Callable[..., Receiver]
) -> None:
    receiver = receive()
    real = socket.getaddrinfo

    def slow(*args: Any, **options: Any) -> list[Any]:
        time.sleep(0.4)
        return real(*args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    call = ReceiverCall(
        receiver.url, b"{}", HEADERS, allowed=Allowed.parse("127.0.0.1"), timeout=0.1
    )
    with pytest.raises(ReceiverUnreachable):
        call.answer()
    call.join(5)
    assert not call.is_alive()
    assert receiver.calls == []


def test_an_endless_answer_is_not_read_to_its_end(receive: Callable[..., Receiver]) -> None:
    receiver = receive()
    receiver.headers = {"x-padding": "z" * 70_000}  # more than http.client takes for one header
    with pytest.raises(ReceiverUnreachable, match="LineTooLong"):
        send(receiver.url, Allowed.parse("127.0.0.1"))


def test_a_path_with_spaces_and_umlauts_is_called_quoted(receive: Callable[..., Receiver]) -> None:
    receiver = receive()
    assert (
        send(f"http://{receiver.host}/hör zu/%41?wer=du & ich#x", Allowed.parse("127.0.0.1")) == 200
    )
    assert receiver.calls[0].path == "/h%C3%B6r%20zu/%41?wer=du%20&%20ich"


def test_an_answer_counts_though_its_body_never_comes(receive: Callable[..., Receiver]) -> None:
    receiver = receive()
    receiver.headers = {"content-length": "100"}
    receiver.stay.clear()
    begun = time.monotonic()
    assert send(receiver.url, Allowed.parse("127.0.0.1"), timeout=0.5) == 200
    assert time.monotonic() - begun < 8
