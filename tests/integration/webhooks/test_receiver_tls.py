"""Webhooks over TLS: whose certificates are accepted."""

from __future__ import annotations

import http.server
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.allowed import Allowed
from tests.support.requirements import missing
from tests.support.webhook_calls import resolve_to, send
from worker import receiver_call
from worker.receivers import ReceiverUnreachable


class AnswersOk(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def make_certificate(certificate: Path, key: Path) -> None:
    """A certificate for `hooks.example` that no authority signed."""
    command = ["openssl", "req", "-x509", "-newkey", "ec"]
    command += ["-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=hooks.example", "-addext", "subjectAltName=DNS:hooks.example"]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True, timeout=30)


class TlsReceiver:
    """An https server whose certificate is for `hooks.example`."""

    def __init__(self, folder: Path):
        self.certificate = folder / "cert.pem"
        make_certificate(self.certificate, folder / "key.pem")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, folder / "key.pem")
        self.names: list[str | None] = []
        context.sni_callback = lambda _socket, name, _context: self.names.append(name)

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), AnswersOk)
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
    monkeypatch.setattr(receiver_call, "tls", lambda: context)


def test_tls_is_checked_against_the_name_though_the_call_goes_to_the_address(
    tls_receiver: TlsReceiver, trusting: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_to(monkeypatch, ["127.0.0.1"])
    allowed = Allowed.parse("hooks.example,other.example")
    assert send(f"https://hooks.example:{tls_receiver.port}/", allowed) == 200
    assert tls_receiver.names == ["hooks.example"]
    with pytest.raises(ReceiverUnreachable, match="certificate"):
        send(f"https://other.example:{tls_receiver.port}/", allowed)


def test_a_certificate_nobody_vouches_for_is_not_accepted(
    tls_receiver: TlsReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_to(monkeypatch, ["127.0.0.1"])
    with pytest.raises(ReceiverUnreachable, match="certificate is not accepted: self-signed"):
        send(f"https://hooks.example:{tls_receiver.port}/", Allowed.parse("hooks.example"))


def test_a_tls_receiver_that_never_shakes_hands_ends_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        with pytest.raises(ReceiverUnreachable, match="no answer within"):
            send(f"https://127.0.0.1:{port}/", Allowed.parse("127.0.0.1"), timeout=0.3)
