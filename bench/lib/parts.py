"""The parts of a running promptmill as processes that can be killed, frozen and started again, each
by its own pid.

Every part is started by its own command and reaches Redis through a proxy of its own. All of them
end when this process ends, even if it is killed. They must be started from the main thread, because
Linux takes the thread that starts a process for its parent.
"""

from __future__ import annotations

import ctypes
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from unittest.mock import patch
from urllib.parse import urlsplit

import redis

from bench.lib.machine import ROOT
from bench.lib.proxy import POST, SCRIPT, Network, Proxy
from cli.valkey import Valkey, free_port

PR_SET_PDEATHSIG = 1
RECOVERY = 3.0  # seconds after which a worker that goes on again has a lease again
SERVING = re.compile(rb"serving \S+ with .*incarnation=(\w+)")
LOST = re.compile(rb"worker (\w+) lost its lease|lost the lease of (\w+)")


class Part:
    """One part: `promptmill COMMAND`. Each start has a log file of its own."""

    def __init__(self, name: str, command: str, env: Mapping[str, str], folder: Path, proxy: Proxy):
        self.name = name
        self.proxy = proxy
        self.down = False  # it was killed or crashed, and somebody will start it again
        self.draining_since: float | None = None  # monotonic
        self.awake_from = 0.0  # monotonic; later than now while it is frozen or cut off
        self.logs: list[Path] = []
        self._command = [sys.executable, "-m", "cli.main", *command.split()]
        self._env = {**env, "PROMPTMILL_PARENT": str(os.getpid())}
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.down, self.draining_since, self.awake_from = False, None, 0.0
        self.logs.append(self._folder / f"{self.name}.{len(self.logs)}.log")
        with self.logs[-1].open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C is for us, and a kill takes what the part started, too.
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll() if self._process else None

    @property
    def serving(self) -> bool:
        """A worker that has its lease, and has recovered from whatever struck it before."""
        up = (
            self.exit_code is None
            and self.draining_since is None
            and time.monotonic() > self.awake_from
        )
        return up and self.incarnation != ""

    @property
    def incarnation(self) -> str:
        """The name under which a worker has its lease now; empty before it has one."""
        found = SERVING.findall(self.log)
        return found[-1].decode() if found else ""

    @property
    def log(self) -> bytes:
        return self.logs[-1].read_bytes()

    def last_words(self) -> str:
        return " | ".join(self.log.decode(errors="replace").strip().splitlines()[-3:])

    def kill(self) -> None:
        self.down = True
        if self._process and self.exit_code is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)

    def drain(self) -> None:
        self.draining_since = time.monotonic()
        os.kill(self.pid, signal.SIGTERM)

    def freeze(self) -> None:
        self.awake_from = math.inf
        os.killpg(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        self.awake_from = time.monotonic() + RECOVERY
        if self.exit_code is None:
            os.killpg(self.pid, signal.SIGCONT)

    def cut_off(self) -> None:
        self.awake_from = math.inf
        self.proxy.hold()

    def reconnect(self) -> None:
        self.awake_from = time.monotonic() + RECOVERY
        self.proxy.resume()


class Parts:
    """A durable server, the web tier, the webhook worker, an evaluator and `workers` workers on the
    echo engine.

    `settings` are the parts', without prefix; `server` is what the server's environment has besides
    ours.
    """

    def __init__(
        self,
        folder: Path,
        workers: int,
        fsync: str,
        settings: Mapping[str, str],
        server: Mapping[str, str] | None = None,
    ):
        self.network = Network()
        self.server = Server(folder, fsync, server or {})
        self._web_port = free_port()
        self._folder = folder
        self._count = workers
        self._env = dict(os.environ) | {"PROMPTMILL_MODEL": "echo", "PROMPTMILL_DEVICE": "cpu"}
        self._env |= {f"PROMPTMILL_{name}": value for name, value in settings.items()}

    def start(self) -> None:
        self.server.start()
        self.network.start()
        self.front = self.network.proxy(self._web_port, POST)
        self.workers = [
            self._part(f"worker-{n}", "worker --processes=1") for n in range(self._count)
        ]
        self.web = self._part("web", "serve")
        self.evaluator = self._part("evaluator", "evaluator")
        self.webhooks = self._part("webhooks", "webhooks")
        for part in self.all:
            part.start()

    def _part(self, name: str, command: str) -> Part:
        proxy = self.network.proxy(self.server.port, SCRIPT)
        url = urlsplit(self.server.url)
        through = url._replace(netloc=f":{url.password}@127.0.0.1:{proxy.port}").geturl()
        env = self._env | {"REDIS_URL": through, "PROMPTMILL_PORT": str(self._web_port)}
        return Part(name, command, env, self._folder, proxy)

    @property
    def all(self) -> list[Part]:
        return [self.web, self.webhooks, self.evaluator, *self.workers]

    def stop(self) -> None:
        """End everything that was started, at once, however far the start came."""
        if hasattr(self, "webhooks"):
            for part in self.all:
                part.kill()
            self.network.stop()
        self.server.stop()


class Server:
    """A Valkey with an append-only file, synced as `fsync` says. Killed and started again it is at
    the same address, with its data."""

    def __init__(self, folder: Path, fsync: str, env: Mapping[str, str]):
        self._folder = folder
        self._valkey = Valkey(folder)
        self._fsync = fsync
        self._env = env
        self.up = False

    def start(self) -> None:
        with patch.dict(os.environ, self._env):  # which the server inherits
            self.url = self._valkey.start()
        self.port = urlsplit(self.url).port or 0
        with redis.Redis.from_url(self.url) as client:
            client.config_set("appendfsync", self._fsync)
        self.up = True

    def kill(self) -> None:
        self.up = False
        assert self._valkey.pid
        os.kill(self._valkey.pid, signal.SIGKILL)
        self._valkey.stop()

    def log(self) -> Path:
        """The append-only file's part that grows."""
        return max(self._folder.rglob("*.incr.aof"), key=lambda path: path.stat().st_mtime)

    def stop(self) -> None:
        self.up = False
        self._valkey.stop()


def lost_leases(parts: Parts) -> set[str]:
    """Incarnations that lost their lease, from the parts' own logs."""
    logs = [path.read_bytes() for part in parts.all for path in part.logs]
    return {(reaped or missed).decode() for log in logs for reaped, missed in LOST.findall(log)}


def die_with_parent() -> Callable[[], object] | None:
    """On Linux the kernel kills a part when we are killed: one that is frozen could not notice by
    itself."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
