"""The web tier as a process of its own, for tests that need real sockets."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import requests

from cli.valkey import free_port
from tests.support.parts import WEB, Part

LIMIT = 3 * 2**20  # bytes of an upload


class WebProcess:
    """`settings` are PROMPTMILL_ variables in lower case."""

    def __init__(self, redis_url: str, **settings: object):
        self.port = free_port()
        settings = {"port": self.port, "max_upload_bytes": LIMIT, "log_format": "json"} | settings
        self._folder = tempfile.TemporaryDirectory(prefix="promptmill-web-")
        self._part = Part(WEB, redis_url, Path(self._folder.name) / "log", **settings)
        self.process = self._part.process
        self.url = f"http://127.0.0.1:{self.port}"
        self.session = requests.Session()
        self.session.trust_env = False
        self._part.wait_until_said("Booting worker")
        self.get("/readyz").raise_for_status()

    def use(self, key: str) -> None:
        self.session.headers["Authorization"] = f"Bearer {key}"

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

    def stop(self) -> tuple[float, list[dict[str, Any]]]:
        """Seconds that it took, and the log."""
        began = time.monotonic()
        self._part.stop()
        took, lines = time.monotonic() - began, self._part.log.splitlines()
        self.session.close()
        self._folder.cleanup()
        return took, [_entry(line) for line in lines]


def _entry(line: str) -> dict[str, Any]:
    """A line of the log; what is no JSON was written by something that broke."""
    return json.loads(line) if line.startswith("{") else {"level": "broken", "message": line}
