"""A webhook receiver that records deliveries in the ledger and reports bad signatures."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

from bench.lib.ledger import Ledger

HOST = "127.0.0.1"
SECRET = "whsec_ZmF1bHRzLWZhdWx0cy1mYXVsdHMtZmF1bHRzIQ=="  # of this run only, on loopback only


class Receiver(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, ledger: Ledger):
        super().__init__((HOST, 0), Handler)
        self.ledger = ledger
        self.address = f"{HOST}:{self.server_port}"
        self._thread = threading.Thread(
            target=self.serve_forever, args=(0.1,), name="receiver", daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    server: Receiver
    timeout = 10.0  # seconds a sender may be silent

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            event = Webhook(SECRET).verify(body, headers)
            self.server.ledger.delivered(headers["webhook-id"], event, body)
        except WebhookVerificationError as error:
            self.server.ledger.note("unexpected", f"a webhook that is not signed: {error}")
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """The ledger knows what came."""
