"""A receiver of webhooks on loopback."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.waiting import wait_until

SECRET = "whsec_" + "QUJD" * 12


@dataclass
class Call:
    """One request as it came in; names of headers in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float = field(default_factory=time.monotonic)

    @property
    def event(self) -> dict[str, Any]:
        return json.loads(self.body)


class Receiver:
    """An HTTP server that answers `statuses` in turn, then always the last, and keeps every call.

    While `hold` is clear it does not answer; while `stay` is clear it does not close the connection
    after the header. With `drip` it sends the header a byte at a time.
    """

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses) or [200]
        self.calls: list[Call] = []
        self.headers: dict[str, str] = {}
        self.hold = threading.Event()
        self.hold.set()
        self.stay = threading.Event()
        self.stay.set()
        self.drip = False
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, self))
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.host}/hook?from=promptmill"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def wait_for(self, count: int, limit: float = 20.0) -> list[Call]:
        wait_until(lambda: len(self.calls) >= count, limit=limit)
        return self.calls

    def close(self) -> None:
        self.hold.set()
        self.stay.set()
        self._server.shutdown()
        self._server.server_close()


class Handler(BaseHTTPRequestHandler):
    """Answers one connection as its receiver says."""

    def __init__(self, receiver: Receiver, *connection: Any) -> None:
        self._receiver = receiver
        super().__init__(*connection)  # which handles the connection

    def do_POST(self) -> None:
        receiver = self._receiver
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        receiver.calls.append(Call(self.path, headers, body))
        statuses = receiver.statuses
        status = statuses.pop(0) if len(statuses) > 1 else statuses[0]
        if receiver.drip:
            self._drip()
            return
        receiver.hold.wait(30)
        self.send_response(status)
        for name, value in {"content-length": "0", **receiver.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        receiver.stay.wait(10)

    def _drip(self) -> None:
        try:
            for byte in b"HTTP/1.1 200 OK\r\nx-slow: " + b"z" * 300:
                self.wfile.write(bytes([byte]))
                time.sleep(0.1)
        except OSError:
            pass  # the caller gave up, which is what the test wants

    def log_message(self, *_: Any) -> None:
        pass
