"""Servers of a test of its own, which it may kill."""

from __future__ import annotations

import subprocess
from pathlib import Path

from cli.valkey import find_binary, free_port
from common.store.connection import connect, wait_until_up
from tests.support.processes import spawn


class OwnServer:
    """A durable server that can be killed and comes back at the same address."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"redis://127.0.0.1:{self._port}/0"

    def start(self, **options: str) -> None:
        """With the server's own settings, by default an append-only file written before every
        answer."""
        options = {
            "bind": "127.0.0.1",
            "save": "",
            "appendonly": "yes",
            "appendfsync": "always",
        } | options
        options["port"] = str(self._port)
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        self._process = spawn(
            [find_binary(), *arguments], cwd=self._folder, stdout=subprocess.DEVNULL
        )
        with connect(self.url) as client:
            wait_until_up(client, 10)

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    @property
    def log(self) -> Path:
        """The append-only file's part that grows."""
        return next((self._folder / "appendonlydir").glob("*.incr.aof"))
