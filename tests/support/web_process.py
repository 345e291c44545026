"""The web tier as a process of its own, for tests that need real sockets."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import tempfile
import time
from typing import Any

import psutil
import requests

from tests.support.processes import ROOT, killed_on_error, spawn

LIMIT = 3 * 2**20  # bytes of an upload


class WebProcess:
    """`settings` are PROMPTMILL_ variables in lower case."""

    def __init__(self, redis_url: str, **settings: object):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        settings = {"port": self.port, "max_upload_bytes": LIMIT, "log_format": "json"} | settings
        env = {f"PROMPTMILL_{name.upper()}": str(value) for name, value in settings.items()}
        command = [sys.executable, "-m", "web.serve"]
        # A pipe that nobody reads would fill up, and stop the server.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = spawn(
            command, cwd=ROOT, env=os.environ | env | {"REDIS_URL": redis_url}, stderr=self._log
        )
        self.url = f"http://127.0.0.1:{self.port}"
        self.session = requests.Session()
        self.session.trust_env = False
        with killed_on_error(self.process):
            self._wait_until_up()

    def use(self, key: str) -> None:
        self.session.headers["Authorization"] = f"Bearer {key}"

    def _wait_until_up(self) -> None:
        end = time.monotonic() + 20
        while True:
            try:
                self.session.get(f"{self.url}/readyz", timeout=1).raise_for_status()
                return
            except requests.RequestException:
                assert time.monotonic() < end and self.process.poll() is None, (
                    "the server did not come up"
                )
                time.sleep(0.05)

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.session.get(self.url + path, timeout=30, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        return self.session.post(self.url + path, timeout=30, **options)

    def children(self) -> list[psutil.Process]:
        """The processes which serve."""
        return psutil.Process(self.process.pid).children()

    def memory(self) -> int:
        """Bytes that they hold."""
        return sum(worker.memory_info().rss for worker in self.children())

    def stop(self) -> tuple[float, list[dict]]:
        """Seconds that it took, and the log."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        with killed_on_error(self.process):
            self.process.wait(20)
        self._log.seek(0)
        log = self._log.read()
        self._log.close()
        self.session.close()
        return time.monotonic() - began, [_entry(line) for line in log.decode().splitlines()]


def _entry(line: str) -> dict:
    """A line of the log; what is no JSON was written by something that broke."""
    return json.loads(line) if line.startswith("{") else {"level": "broken", "message": line}
