"""`promptmill …` as a process, the way a user runs it: output, data folder and end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from cli.client import Client
from cli.valkey import free_port
from tests.support.processes import spawn
from tests.support.waiting import wait_until

COMMAND = [sys.executable, "-m", "cli.main"]
LIMIT = 60.0  # seconds anything here may take


def run(
    *arguments: str | Path, env: dict[str, str] | None = None, limit: float = LIMIT
) -> subprocess.CompletedProcess[str]:
    """A command to its end."""
    return subprocess.run(
        [*COMMAND, *arguments],
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=limit,
        check=False,
    )


class Running:
    """`promptmill up` on a data folder, with the echo engine unless told otherwise. `start` is how,
    `Popen`'s way."""

    def __init__(
        self, folder: Path, *arguments: str, start: Callable[..., Any] = spawn, **env: str
    ):
        self.folder = folder
        self.lines: list[str] = []
        self._clients: list[Client] = []
        arguments = arguments or ("--engine", "echo", "--model", "echo", "--port", str(free_port()))
        self.process: subprocess.Popen[str] = start(
            [*COMMAND, "up", "--data", folder, *arguments],
            env={**os.environ, "PROMPTMILL_LEASE": "3", "PROMPTMILL_GRACE": "2", **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.rstrip())

    @property
    def said(self) -> str:
        return "\n".join(self.lines)

    def wait_until_ready(self) -> Running:
        wait_until(lambda: "Ready:" in self.said or self.process.poll() is not None)
        assert "Ready:" in self.said, self.said
        return self

    @property
    def url(self) -> str:
        found = re.search(r"runs at (\S+);", self.said)
        assert found, self.said
        return found[1]

    def server(self) -> dict[str, str]:
        """Its url and api_key."""
        found: dict[str, str] = json.loads((self.folder / "server.json").read_text())
        return found

    def client(self) -> Client:
        server = self.server()
        self._clients.append(Client(server["url"], server["api_key"]))
        return self._clients[-1]

    def processes(self) -> list[psutil.Process]:
        """All that runs because of it, itself first."""
        me = psutil.Process(self.process.pid)
        return [me, *me.children(recursive=True)]

    def kill_everything(self) -> None:
        """What a power cut does to it."""
        if self.process.poll() is not None:
            return
        doomed = self.processes()
        for process in doomed:
            process.kill()
        self.process.wait(LIMIT)
        wait_until(lambda: not any(alive(process) for process in doomed))

    def stop(self) -> int:
        """Ctrl-C; the exit code. What does not end by that is killed, and the test fails."""
        for client in self._clients:
            client.close()  # the web tier waits some seconds for connections that may be used again
        try:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGINT)
            return self.process.wait(LIMIT)
        finally:
            self.kill_everything()
            self._reader.join(LIMIT)
            assert self.process.stdout
            self.process.stdout.close()


@contextmanager
def running(*arguments: Any, **options: Any) -> Iterator[Running]:
    """`Running`, ready, and stopped in the end."""
    started = Running(*arguments, **options)
    try:
        yield started.wait_until_ready()
    finally:
        started.stop()


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
