"""Serves the web tier with gunicorn and gevent: each long-poll and event stream is a greenlet, not
a thread.

This module and the process that starts it do not import the app. It is loaded in the web processes,
after gevent has replaced the blocking parts of the standard library there.
"""

from __future__ import annotations

import errno
import logging
import os
import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import gevent
from gevent.pool import Pool
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger
from gunicorn.http.errors import NoMoreData
from gunicorn.workers.ggevent import GeventWorker

from common import log
from common.errors import ConfigError
from common.settings import Settings
from common.urls import in_url
from web.wire.connection import KEEP, MOST_REQUEST_LINE
from web.wire.connections import Connections
from web.wire.listener import Listener

MOST_CONNECTIONS = 4000  # of a process
# Connections that may wait to be accepted. A client that finds no room tries again after seconds.
BACKLOG = 4096
OTHER_FILES = 300  # that a process has open besides: connections to Redis, uploads
ADDRESS_WAIT = 5.0  # seconds for an address that is taken to become free
# Seconds that requests under way have after SIGTERM; event streams and long-polls end at once.
GRACE = 5


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Exit code 2 if the store is of a newer version.

    Raises:
        ConfigError: this host and port cannot be listened on.
    """
    wait_for_address(settings.host, settings.port)
    first = os.getpid()
    try:
        WebServer(settings).run()
    except SystemExit as end:
        # The processes that were forked inside `run` end here too.
        if end.code == Arbiter.APP_LOAD_ERROR and os.getpid() == first:
            raise SystemExit(2) from None
        raise


class WebServer(BaseApplication):
    """Gunicorn with its options set, and the app that its processes load."""

    def __init__(self, settings: Settings):
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        options: dict[str, str | int | bool] = {
            "bind": f"{in_url(self._settings.host)}:{self._settings.port}",
            "worker_class": f"{__name__}.WebWorker",
            # Each loads the app after it was forked, so no thread is copied.
            "workers": self._settings.web_processes,
            "worker_connections": most_connections(),
            "backlog": BACKLOG,
            "timeout": 60,
            "graceful_timeout": GRACE,
            "keepalive": int(KEEP),
            "limit_request_line": MOST_REQUEST_LINE,
            "logger_class": f"{__name__}.GunicornLog",
            "control_socket_disable": True,
            # `web/wire/proxies.py` reads what proxies say, and knows which of them to trust.
            "forwarded_allow_ips": "",
            "proc_name": "promptmill-web",
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        from common.errors import Unavailable
        from common.store.version import meet_store
        from web.app import create_app, start_background
        from web.services.services import EXTENSION
        from web.wire.error_answers import shapes_of
        from web.wire.gate import Gate

        try:
            app = create_app(self._settings)
            app.wsgi_app = Gate(app.wsgi_app, shapes_of(app))  # type: ignore[method-assign]
            meet_store(app.extensions[EXTENSION].redis)
            app.extensions[EXTENSION].models.refuse_served_aliases()
        except ConfigError as error:
            logging.getLogger(__name__).critical("%s", error)
            raise SystemExit(Arbiter.APP_LOAD_ERROR) from None
        except Unavailable as error:
            # The web tier starts without Redis; the store's scripts check the version again.
            logging.getLogger(__name__).warning(
                "could not ask the store for its version and workers: %s", error
            )
        start_background(app)
        return app


class WebWorker(GeventWorker):
    """Ends at once when told to, but for requests under way; streams, long-polls and idle
    connections are closed before these."""

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self._connections = Connections(self.worker_connections, self.worker_connections // 10)

    def run(self) -> None:
        """As in gunicorn, but with our listener."""
        servers = []
        for sock in self.sockets:
            sock.setblocking(1)
            server = Listener(
                sock, handle=partial(self.handle, sock), spawn=Pool(self.worker_connections)
            )
            server.start()
            servers.append(server)
        while self.alive:
            self.notify()
            gevent.sleep(1.0)
        for server in servers:
            server.close()
        end = time.monotonic() + self.cfg.graceful_timeout
        while time.monotonic() < end and any(len(server.pool) for server in servers):
            self.notify()
            gevent.sleep(0.1)
        for server in servers:
            server.stop(timeout=1)

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        with self._connections.open(client, addr[0]) as connection:
            super().handle(listener, connection, addr)

    @contextmanager
    def timeout_ctx(self) -> Iterator[None]:
        """Entered by gunicorn around the wait for a request."""
        if not self.alive:
            raise NoMoreData
        self._connections.current.wait_for_request()
        yield

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        sock.begin_request(partial(self._count_slow_body, req, addr[0]))
        try:
            super().handle_request(listener_name, req, sock, addr)
        finally:
            sock.end_request()

    def _count_slow_body(self, req: Any, peer: str) -> Callable[[], None]:
        from web.services.services import EXTENSION
        from web.wire.slow_bodies import take_slow_body

        return take_slow_body(self.wsgi.extensions[EXTENSION], req.headers, peer)

    def handle_exit(self, sig: int, frame: Any) -> None:
        super().handle_exit(sig, frame)
        gevent.spawn(
            self._leave
        )  # in a greenlet of its own: a signal handler must not wait for a lock

    def _leave(self) -> None:
        from web.services.services import EXTENSION

        self.wsgi.extensions[EXTENSION].watches.close()
        self._connections.leave()


def wait_for_address(host: str, port: int) -> None:
    """Wait until the address is free: a process that ended a moment ago may hold it for some
    seconds.

    Raises:
        ConfigError: it does not become free. The message says why; gunicorn would try on and end
        without one.
    """
    end = time.monotonic() + ADDRESS_WAIT
    while True:
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM
            )[0]
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
            return
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > end:
                why = (error.strerror or str(error)).lower()
                hint = (
                    "choose another PROMPTMILL_PORT"
                    if error.errno == errno.EADDRINUSE
                    else "set PROMPTMILL_HOST"
                )
                raise ConfigError(
                    f"cannot listen on {in_url(host)}:{port}: {why}; {hint}"
                ) from None
        time.sleep(0.1)


def most_connections() -> int:
    """How many connections a process may have: each is an open file, and the system limits those,
    often to 1,024 at first."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return max(soft - OTHER_FILES, soft // 2)
    return MOST_CONNECTIONS


class GunicornLog(Logger):
    """Gunicorn's own lines go into the same log as all others."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True
        self.error_log.setLevel(logging.INFO)


def main() -> None:
    """`python -m web.serve`."""
    settings = Settings.load()
    log.set_up(settings.log_format)
    serve(settings)


if __name__ == "__main__":
    main()
