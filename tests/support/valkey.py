"""Servers of a test of its own, durable, with any settings, which it may freeze and kill."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import redis

from cli.valkey import find_binary, free_port
from common.store.connection import connect, wait_until_up
from tests.support.processes import spawn

DURABLE = {
    "appendonly": "yes",
    "appendfsync": "always",
    "save": '""',
    "bind": "127.0.0.1",
    "repl-diskless-sync-delay": "0",
}


class ServerProcess:
    """A server or a Sentinel with a folder and a configuration file of its own."""

    def __init__(self, folder: Path, *arguments: str):
        folder.mkdir(parents=True)
        self._folder = folder
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None

    def begin(self, lines: list[str]) -> None:
        """Start it with these lines as its configuration."""
        (self._folder / "server.conf").write_text("\n".join(lines) + "\n")
        with (self._folder / "log").open("ab") as log:
            command = [find_binary(), "server.conf", *self._arguments]
            self._process = spawn(command, cwd=self._folder, stdout=log, stderr=log)

    def freeze(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait(10)
            self._process = None


class RedisServer(ServerProcess):
    """Options are the server's own settings, `lines` what is not one name and value. Killed and
    started again it is at the same address, with its data."""

    def __init__(self, folder: Path, *lines: str, **options: str):
        super().__init__(folder)
        self.port = int(options.setdefault("port", str(free_port())))
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._lines = lines
        self._options = {**DURABLE, **options}

    def start(self, **options: str) -> None:
        """With these options besides; it may take a moment until it answers."""
        settings = {**self._options, **options}
        self.begin([f"{name} {value}" for name, value in settings.items()] + [*self._lines])

    def client(self, **options: str) -> redis.Redis:
        return redis.Redis(port=self.port, socket_timeout=5, **options)

    @property
    def log(self) -> Path:
        """The append-only file's part that grows."""
        return next((self._folder / "appendonlydir").glob("*.incr.aof"))


class OwnServer(RedisServer):
    """One without a password, which answers once it is started."""

    def start(self, **options: str) -> None:
        super().start(**options)
        with connect(self.url) as client:
            wait_until_up(client, 10)
