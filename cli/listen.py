"""A webhook receiver that believes only what is signed: `promptmill listen`, and the demo's own."""

from __future__ import annotations

import queue
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import click

from cli.children import end_on_signals
from cli.folder import DataFolder, data_option, find_settings
from cli.terminal import print_line
from common.errors import ConfigError, InvalidRequest, Unauthorized
from common.signing import check_secret, verify
from common.store.accounts import Accounts
from common.store.connection import connect
from common.store.packing import json_text

HOST = "127.0.0.1"
BODY_LIMIT = 2**20  # bytes
LOOK = 0.1  # seconds between two looks at what came
READ_LIMIT = 10.0  # seconds a sender may be silent


class Receiver(ThreadingHTTPServer):
    """Listens on loopback; verified events appear in `events`, reasons for refusing others in
    `refused`.

    Port 0 takes a free one. An event that comes again (its sender may have missed our answer) is
    told once.

    Raises:
        ConfigError: the port is taken.
    """

    daemon_threads = True

    def __init__(self, secret: str, port: int = 0):
        try:
            super().__init__((HOST, port), Handler)
        except OSError as error:
            raise ConfigError(
                f"cannot listen at {HOST}:{port}: {error.strerror}; choose another --port"
            ) from None
        self.events: queue.Queue[dict[str, Any]] = queue.Queue()
        self.refused: queue.Queue[str] = queue.Queue()
        self.secret = secret
        self.address = f"{HOST}:{self.server_port}"
        self._known: set[str] = set()
        self._thread = threading.Thread(
            target=self.serve_forever, args=(0.1,), name="receiver", daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        if self._thread.is_alive():
            self.shutdown()
        self.server_close()

    def take(self, headers: dict[str, str], body: bytes) -> int:
        """The answer's status."""
        try:
            event = verify(self.secret, headers, body)
        except Unauthorized as error:
            self.refused.put(error.message)
            return 401
        if event["id"] not in self._known:
            self._known.add(event["id"])
            self.events.put(event)
        return 204


class Handler(BaseHTTPRequestHandler):
    server: Receiver
    timeout = READ_LIMIT

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > BODY_LIMIT:
            self.send_error(413)
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.send_response(self.server.take(headers, self.rfile.read(int(length))))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Whoever uses the receiver says what came."""


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8001, show_default=True)
@click.option("--secret", help="whsec_…; the tenant's own if not given.")
@click.option("--tenant", default="default", show_default=True)
@data_option
def listen(port: int, secret: str | None, tenant: str, folder: DataFolder) -> None:
    """Receive webhooks on loopback, verify them and print them, one JSON line each.

    The server only posts to loopback if PROMPTMILL_WEBHOOK_ALLOW names this receiver.
    """
    if secret is not None:
        try:
            check_secret(secret)
        except InvalidRequest as error:
            raise click.BadParameter(error.message, param_hint="--secret") from None
    secret = secret or Accounts(connect(find_settings(folder).redis_url)).webhook_secret(tenant)
    receiver = Receiver(secret, port)
    end_on_signals()
    receiver.start()
    print_line(
        f"Listening at http://{receiver.address}/ (PROMPTMILL_WEBHOOK_ALLOW={receiver.address})",
        err=True,
    )
    try:
        while True:
            time.sleep(LOOK)
            while not receiver.refused.empty():
                print_line(f"refused: {receiver.refused.get()}", err=True)
            while not receiver.events.empty():
                print_line(json_text(receiver.events.get()))
    except KeyboardInterrupt:
        pass
    finally:
        receiver.stop()
