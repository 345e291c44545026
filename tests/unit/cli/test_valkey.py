"""The embedded server is private and durable, and each folder has one at most."""

from __future__ import annotations

import importlib.util
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from cli import valkey as module
from cli.valkey import Valkey, is_running, server_memory
from common.errors import ConfigError


@pytest.fixture
def server(data_folder: Path) -> Iterator[Valkey]:
    server = Valkey(data_folder)
    yield server
    server.stop()


def ask(url: str, *command: str) -> Any:
    with redis.Redis.from_url(url, decode_responses=True) as client:
        return client.execute_command(*command)


def start_and_be_killed(folder: Path, how: str) -> tuple[str, int]:
    """A parent that starts a server, writes, and is gone without stopping it."""
    code = f"""
import os, signal, sys
from pathlib import Path
import redis
from cli import valkey
{how}
server = valkey.Valkey(Path(sys.argv[1]))
client = redis.Redis.from_url(server.start())
client.set("written", "yes")
print(server.url, server.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, folder],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    url, pid = done.stdout.split()
    return url, int(pid)


def test_what_was_answered_survives_a_kill_of_the_server(server: Valkey) -> None:
    ask(server.start(), "SET", "kept", "yes")
    assert server.pid
    os.kill(server.pid, signal.SIGKILL)
    server.stop()
    assert ask(server.start(), "GET", "kept") == "yes"


def test_each_change_is_on_disk_before_it_is_answered(server: Valkey) -> None:
    url = server.start()
    assert ask(url, "CONFIG", "GET", "appendonly")["appendonly"] == "yes"
    assert ask(url, "CONFIG", "GET", "appendfsync")["appendfsync"] == "always"
    assert ask(url, "CONFIG", "GET", "maxmemory-policy")["maxmemory-policy"] == "noeviction"


def test_nobody_gets_in_without_the_password(server: Valkey, data_folder: Path) -> None:
    url = server.start()
    with pytest.raises(redis.AuthenticationError):
        ask("redis://" + url.partition("@")[2], "PING")
    assert stat.S_IMODE((data_folder / "redis-url").stat().st_mode) == 0o600
    assert stat.S_IMODE((data_folder / "redis").stat().st_mode) == 0o700
    arguments = Path(f"/proc/{server.pid}/cmdline")
    if arguments.exists():
        assert url.split(":")[2].partition("@")[0] not in arguments.read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel does this on Linux only")
def test_the_server_ends_when_its_parent_is_killed(data_folder: Path) -> None:
    _, pid = start_and_be_killed(data_folder, "")
    assert module._wait_for(lambda: not is_running(pid), 10)


def test_an_orphan_is_ended_before_another_starts_and_its_data_are_kept(
    server: Valkey, data_folder: Path
) -> None:
    _, pid = start_and_be_killed(data_folder, "valkey._end_with_parent = lambda: None")
    assert is_running(pid)
    url = server.start()
    assert not is_running(pid)
    assert ask(url, "GET", "written") == "yes"


def test_a_stranger_at_the_remembered_port_is_left_alone(
    server: Valkey, data_folder: Path, valkey: Valkey
) -> None:
    port = valkey.url.rpartition(":")[2]
    (data_folder / "redis-url").write_text(f"redis://:some-old-password@127.0.0.1:{port}")
    server.start()
    assert valkey.alive


def test_a_server_that_cannot_start_says_why(
    server: Valkey, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Valkey, "_settings", lambda *_: "no-such-setting yes\n")
    with pytest.raises(ConfigError, match="no-such-setting"):
        server.start()
    assert not server.alive


def test_without_any_server_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ConfigError, match="REDIS_URL"):
        module.find_binary()


def test_a_server_takes_so_much_memory_and_then_refuses_new_work(data_folder: Path) -> None:
    assert ask_and_stop(Valkey(data_folder, memory=123_456_789)) == "123456789"
    assert ask_and_stop(Valkey(data_folder)) == "0"
    assert psutil.virtual_memory().total // 2 >= server_memory() > 0


def ask_and_stop(server: Valkey) -> str:
    """The server's maxmemory."""
    url = server.start()
    try:
        found = ask(url, "CONFIG", "GET", "maxmemory*")
        assert found["maxmemory-policy"] == "noeviction"
        return str(found["maxmemory"])
    finally:
        server.stop()


def test_a_container_gives_the_server_half_of_what_it_may_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit, none = tmp_path / "memory.max", tmp_path / "none"
    limit.write_text("1000000\n")
    monkeypatch.setattr(module, "MEMORY_FILES", (none, limit))
    assert server_memory() == 500_000
    limit.write_text("max\n")
    assert server_memory() == psutil.virtual_memory().total // 2
