"""Which targets may be called, and one POST to one of them, against real sockets."""

from __future__ import annotations

import http.server
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from common.allowed import Allowed
from tests.support.receiver import Receiver
from tests.support.requirements import missing
from worker import receivers
from worker.receivers import Refused, Unreachable, is_public, post, split

NOBODY = Allowed.parse("")
HEADERS = {"content-type": "application/json"}


def send(url: str, allowed: Allowed = NOBODY, timeout: float = 5.0) -> int:
    return post(url, b"{}", HEADERS, allowed=allowed, timeout=timeout)


def resolve_to(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Make the resolver give each answer in turn, the last for ever; answers the list of names it
    was asked for."""
    asked: list[str] = []
    left = list(answers)
    real = socket.getaddrinfo

    def lookup(host: str, port: int, *args: Any, **kwargs: Any) -> list[Any]:
        if host[0].isdigit() or ":" in host:
            return real(host, port, *args, **kwargs)
        asked.append(host)
        addresses = left.pop(0) if len(left) > 1 else left[0]
        return [
            entry for address in addresses for entry in real(address, port, type=socket.SOCK_STREAM)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    return asked


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
    with pytest.raises(Refused):
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
    with pytest.raises(Refused, match="not at a public address"):
        send(f"http://{host}:{receiver.port}/")
    assert receiver.calls == []


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["10.0.0.1", "8.8.8.8"]]
)
def test_a_name_with_any_private_address_is_refused(
    monkeypatch: pytest.MonkeyPatch, addresses: list[str]
) -> None:
    resolve_to(monkeypatch, addresses)
    with pytest.raises(Refused, match=r"evil\.example is not at a public address") as refused:
        send("http://evil.example/")
    assert not any(address in str(refused.value) for address in addresses), "the tenant reads this"


@pytest.mark.parametrize(
    "name", ["metadata.google.internal", "metadata", "instance-data.ec2.internal"]
)
def test_names_of_metadata_services_are_refused_where_they_lead_to_one(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    resolve_to(monkeypatch, ["169.254.169.254"])
    with pytest.raises(Refused) as refused:
        send(f"http://{name}/computeMetadata/v1/")
    assert "169.254" not in str(refused.value)


def test_what_the_other_side_says_is_not_told(receive: Callable[..., Receiver]) -> None:
    """A banner of some service behind an allowed host, which is no HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def talk() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"SSH-2.0-secret_1.0\r\n")

        threading.Thread(target=talk, daemon=True).start()
        with pytest.raises(Unreachable) as problem:
            send(f"http://127.0.0.1:{server.getsockname()[1]}/", Allowed.parse("127.0.0.1"))
    assert "secret" not in str(problem.value)


def test_a_network_allows_whatever_name_leads_into_it(
    monkeypatch: pytest.MonkeyPatch, receive: Callable[..., Receiver]
) -> None:
    receiver = receive()
    resolve_to(monkeypatch, ["127.0.0.1"])
    assert (
        send(f"http://inside.example:{receiver.port}/", Allowed.parse("10.0.0.0/8,127.0.0.0/8"))
        == 200
    )
    with pytest.raises(Refused):
        send(f"http://inside.example:{receiver.port}/", Allowed.parse("10.0.0.0/8"))


def test_an_ipv6_receiver_is_allowed_in_any_spelling() -> None:
    for entry in ("::1", "[::1]", "[0:0:0:0:0:0:0:1]:9", "::/127"):
        with pytest.raises(Unreachable, match="cannot connect"):
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
    with pytest.raises(Unreachable):
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
    with pytest.raises(Refused):
        send(receiver.url, Allowed.parse(entry))
    assert receiver.calls == []


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
    with pytest.raises(Unreachable, match="cannot connect"):
        send("http://127.0.0.1:9/", Allowed.parse("127.0.0.1"))


def test_a_name_without_address_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: Any, **_options: Any) -> NoReturn:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(Unreachable, match=r"nowhere\.example does not resolve"):
        send("http://nowhere.example/")


def test_a_slow_resolver_a_silent_receiver_and_a_dripping_one_all_end_in_time(
    monkeypatch: pytest.MonkeyPatch, receive: Callable[..., Receiver]
) -> None:
    silent, dripping = receive(), receive()
    silent.hold.clear()
    dripping.drip = True
    for url in (silent.url, dripping.url):
        begun = time.monotonic()
        with pytest.raises(Unreachable, match=r"no answer within 0\.5 s"):
            send(url, Allowed.parse("127.0.0.1"), timeout=0.5)
        assert time.monotonic() - begun < 8

    def lookup(*_args: Any, **_options: Any) -> list[Any]:
        time.sleep(1.0)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    with pytest.raises(Unreachable, match=r"no answer within 0\.1 s"):
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
    call = receivers.Call(
        receiver.url, b"{}", HEADERS, allowed=Allowed.parse("127.0.0.1"), timeout=0.1
    )
    with pytest.raises(Unreachable):
        call.answer()
    call.join(5)
    assert not call.is_alive()
    assert receiver.calls == []


def test_an_endless_answer_is_not_read_to_its_end(receive: Callable[..., Receiver]) -> None:
    receiver = receive()
    receiver.headers = {"x-padding": "z" * 70_000}  # more than http.client takes for one header
    with pytest.raises(Unreachable, match="LineTooLong"):
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


class TlsReceiver:
    """An https server whose certificate is for `hooks.example`."""

    def __init__(self, folder: Path):
        self.certificate = folder / "cert.pem"
        subprocess.run(
            [
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=hooks.example",
                "-addext",
                "subjectAltName=DNS:hooks.example",
                "-keyout",
                folder / "key.pem",
                "-out",
                self.certificate,
            ],
            check=True,
            capture_output=True,
            timeout=30,
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, folder / "key.pem")
        self.names: list[str | None] = []
        context.sni_callback = lambda _socket, name, _context: self.names.append(name)

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # refused handshakes are the test
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def tls_receiver(tmp_path: Path) -> Iterator[TlsReceiver]:
    if not shutil.which("openssl"):
        missing("openssl, to make a certificate")
    receiver = TlsReceiver(tmp_path)
    yield receiver
    receiver.close()


@pytest.fixture
def trusting(tls_receiver: TlsReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    context = ssl.create_default_context(cafile=str(tls_receiver.certificate))
    monkeypatch.setattr(receivers, "tls", lambda: context)


def test_tls_is_checked_against_the_name_though_the_call_goes_to_the_address(
    tls_receiver: TlsReceiver, trusting: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_to(monkeypatch, ["127.0.0.1"])
    allowed = Allowed.parse("hooks.example,other.example")
    assert send(f"https://hooks.example:{tls_receiver.port}/", allowed) == 200
    assert tls_receiver.names == ["hooks.example"]
    with pytest.raises(Unreachable, match="certificate"):
        send(f"https://other.example:{tls_receiver.port}/", allowed)


def test_a_certificate_nobody_vouches_for_is_not_accepted(
    tls_receiver: TlsReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_to(monkeypatch, ["127.0.0.1"])
    with pytest.raises(Unreachable, match="certificate is not accepted: self-signed"):
        send(f"https://hooks.example:{tls_receiver.port}/", Allowed.parse("hooks.example"))


def test_a_tls_receiver_that_never_shakes_hands_ends_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        with pytest.raises(Unreachable, match="no answer within"):
            send(f"https://127.0.0.1:{port}/", Allowed.parse("127.0.0.1"), timeout=0.3)
