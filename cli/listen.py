"""`promptmill listen`: a webhook receiver that verifies signatures; the demo uses it, too."""

from __future__ import annotations

import queue
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import click

from cli.children import end_on_signals
from cli.commands import Command
from cli.folder import DataFolder, data_option, find_settings
from cli.login_link import TENANT
from cli.terminal import print_line
from common.errors import ConfigError, InvalidRequest, Unauthorized
from common.signing import check_secret, verify
from common.store.connection import connect
from common.store.packing import json_text
from common.store.tenants import Tenants
from common.types import JsonObject

HOST = "127.0.0.1"
BODY_LIMIT = 2**20  # bytes
LOOK = 0.1  # seconds between two looks for new events
READ_LIMIT = 10.0  # seconds between two bytes of a request


class Receiver(ThreadingHTTPServer):
    """Listens on loopback. Verified events go to the queue `events`, the reasons for refusing
    others to `refused`.

    Port 0 is a free one. An event that comes twice, because its sender missed our answer, is in
    `events` once.

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
        self.events: queue.Queue[JsonObject] = queue.Queue()
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
        """Verify an event. Returns the status code of the answer."""
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
        """Print nothing: the user of the receiver does."""


@click.command(cls=Command)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8001,
    show_default=True,
    help="Port to listen on; 0: a free one.",
)
@click.option("--secret", help="Secret (whsec_…) that signs the events; the tenant's if not given.")
@click.option("--tenant", default=TENANT, show_default=True, help="Tenant whose secret is used.")
@data_option
def listen(port: int, secret: str | None, tenant: str, folder: DataFolder) -> None:
    """Receive webhooks and print each as a JSON line.

    It listens on loopback, and refuses events whose signature is wrong. Webhook workers post to
    loopback only if their PROMPTMILL_WEBHOOK_ALLOW has this receiver's address, which is printed
    at start.
    """
    if secret is not None:
        try:
            check_secret(secret)
        except InvalidRequest as error:
            raise click.BadParameter(error.message, param_hint="--secret") from None
    secret = secret or Tenants(connect(find_settings(folder).redis_url)).webhook_secret(tenant)
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
