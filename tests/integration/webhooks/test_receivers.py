"""Which receivers may be called, against real sockets."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from common.allowed import Allowed
from tests.support.receiver import Receiver
from tests.support.webhook_calls import resolve_to, send
from worker.receivers import ReceiverForbidden, ReceiverUnreachable, is_public, split


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "::ffff:8.8.8.8"],
)
def test_public_addresses_may_be_called(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.8.8", "::1"),  # loopback
        # Private.
        *("10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "fc00::1", "fd12::1"),
        "168.63.129.16",  # Azure's
        # Metadata.
        *(
            "169.254.169.254",
            "169.254.170.2",
            "fe80::1",
            "fe80::1%1",
            "fd00:ec2::254",
            "100.100.100.200",
        ),
        *("0.0.0.0", "0.1.2.3", "::"),  # this host
        *("224.0.0.1", "239.1.1.1", "ff02::1"),  # multicast
        *(
            "240.0.0.1",
            "255.255.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
        ),
        *("100.64.0.1", "192.88.99.1"),  # behind a carrier's NAT, 6to4 relay
        # Mapped.
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:168.63.129.16"),
        *(
            "192.0.0.192",
            "fd20:ce::254",
            "::ffff:0:169.254.169.254",
            "2002:a83f:8110::1",
            "64:ff9b::a83f:8110",
        ),
        # Carried inside.
        *("::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::1", "2001:0:7f00:1::1"),
        *("fec0::1", "2001:db8::1", "100::1", "3fff::1", "5f00::1"),
    ],
)
def test_nothing_but_public_addresses_may_be_called(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/",
        "file:///etc/passwd",
        "example.com/hook",
        "http://",
        "http:///x",
        "http://[::1/",
        "",
        "http://example.com:99999/",
        "https://user:secret@example.com/",
        "gopher://example.com/",
    ],
)
def test_what_is_no_http_url_is_refused(url: str) -> None:
    with pytest.raises(ReceiverForbidden):
        split(url)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "2130706433",
        "0x7f.1",
        "127.1",
        "0",
        "[::ffff:127.0.0.1]",
        "169.254.169.254",
    ],
)
def test_a_private_target_is_refused_however_it_is_spelt(
    receive: Callable[..., Receiver], host: str
) -> None:
    receiver = receive()
    with pytest.raises(ReceiverForbidden, match="not at a public address"):
        send(f"http://{host}:{receiver.port}/")
    assert receiver.calls == []


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["10.0.0.1", "8.8.8.8"]]
)
def test_a_name_with_any_private_address_is_refused(
    monkeypatch: pytest.MonkeyPatch, addresses: list[str]
) -> None:
    resolve_to(monkeypatch, addresses)
    with pytest.raises(
        ReceiverForbidden, match=r"evil\.example is not at a public address"
    ) as refused:
        send("http://evil.example/")
    assert not any(address in str(refused.value) for address in addresses), "the tenant reads this"


@pytest.mark.parametrize(
    "name", ["metadata.google.internal", "metadata", "instance-data.ec2.internal"]
)
def test_names_of_metadata_services_are_refused_where_they_lead_to_one(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    resolve_to(monkeypatch, ["169.254.169.254"])
    with pytest.raises(ReceiverForbidden) as refused:
        send(f"http://{name}/computeMetadata/v1/")
    assert "169.254" not in str(refused.value)


def test_a_network_allows_whatever_name_leads_into_it(
    monkeypatch: pytest.MonkeyPatch, receive: Callable[..., Receiver]
) -> None:
    receiver = receive()
    resolve_to(monkeypatch, ["127.0.0.1"])
    assert (
        send(f"http://inside.example:{receiver.port}/", Allowed.parse("10.0.0.0/8,127.0.0.0/8"))
        == 200
    )
    with pytest.raises(ReceiverForbidden):
        send(f"http://inside.example:{receiver.port}/", Allowed.parse("10.0.0.0/8"))


def test_an_ipv6_receiver_is_allowed_in_any_spelling() -> None:
    for entry in ("::1", "[::1]", "[0:0:0:0:0:0:0:1]:9", "::/127"):
        with pytest.raises(ReceiverUnreachable, match="cannot connect"):
            send("http://[::1]:9/", Allowed.parse(entry))


def test_a_name_that_turns_private_after_the_check_is_not_called(
    monkeypatch: pytest.MonkeyPatch, receive: Callable[..., Receiver]
) -> None:
    """DNS rebinding: what was checked is what is called, and the name is asked for once."""
    receiver = receive()
    asked = resolve_to(monkeypatch, ["8.8.8.8"], ["127.0.0.1"])
    called: list[str] = []

    def connect(address: tuple[str, int], timeout: float) -> socket.socket:
        called.append(address[0])
        raise ConnectionRefusedError("no network in tests")

    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(ReceiverUnreachable):
        send(f"http://evil.example:{receiver.port}/")
    assert (asked, called, receiver.calls) == (["evil.example"], ["8.8.8.8"], [])


def test_an_allowed_host_may_be_private_and_is_asked_for_by_its_name(
    monkeypatch: pytest.MonkeyPatch, receive: Callable[..., Receiver]
) -> None:
    receiver = receive(204)
    asked = resolve_to(monkeypatch, ["127.0.0.1"])
    assert (
        send(f"http://inside.example:{receiver.port}/a%20b?c=d", Allowed.parse("inside.example"))
        == 204
    )
    (call,) = receiver.calls
    assert (call.path, call.headers["host"], call.body) == (
        "/a%20b?c=d",
        f"inside.example:{receiver.port}",
        b"{}",
    )
    assert asked == ["inside.example"]


@pytest.mark.parametrize("entry", ["{host}", "Localhost , {host}", "other,127.0.0.1"])
def test_allowing_names_a_host_or_a_host_with_its_port(
    receive: Callable[..., Receiver], entry: str
) -> None:
    receiver = receive()
    assert send(receiver.url, Allowed.parse(entry.format(host=receiver.host))) == 200


@pytest.mark.parametrize("entry", ["127.0.0.1:1", "localhost", "127.0.0.2", "0.0.0.1"])
def test_allowing_one_target_allows_no_other(receive: Callable[..., Receiver], entry: str) -> None:
    receiver = receive()
    with pytest.raises(ReceiverForbidden):
        send(receiver.url, Allowed.parse(entry))
    assert receiver.calls == []
