"""Starts the processes of tests so that none outlives them, even when pytest itself is killed.

Three safeguards. A fixture ends what it started. Linux ends a process whose parent, pytest, is
killed; our own parts end with theirs. At the end of the run `end_all` kills every process that
still carries the run's mark in its environment.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

# A variable that all processes of a run inherit: the ids of this run and of those around it.
MARK = "TESTS_RUN"
PR_SET_PDEATHSIG = 1
ROOT = Path(__file__).parents[2]  # of the repository
_libc = ctypes.CDLL(None)


def spawn(command: list[Any], **options: Any) -> subprocess.Popen[Any]:
    """`subprocess.Popen`, for a child that dies with us and that Ctrl-C stops. A shell ignores
    SIGINT for what it runs in the background, and so does all that comes from there. The thread
    that calls this must outlive the child."""
    return subprocess.Popen(command, preexec_fn=_prepare, **options)


@contextmanager
def killed_on_error(process: subprocess.Popen[Any]) -> Iterator[None]:
    """Around the wait for a process to be ready: if it fails, nobody else would end the process."""
    try:
        yield
    except BaseException:
        process.kill()
        process.wait()
        raise


def _prepare() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.platform == "linux":
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@contextmanager
def marked() -> Iterator[str]:
    """Within, all processes that are started carry a new mark, which this yields."""
    before = os.environ.get(MARK, "")
    mark = uuid.uuid4().hex
    os.environ[MARK] = f"{before} {mark}".strip()
    try:
        yield mark
    finally:
        os.environ[MARK] = before
        if not before:
            del os.environ[MARK]


def survivors(mark: str) -> list[psutil.Process]:
    """The processes that carry this mark and run; not this one, whose environment the system saw
    before, nor the one in which Python tracks what it shares: that ends with this one."""
    return [
        process
        for process in psutil.process_iter()
        if process.pid != os.getpid() and _carries(process, mark)
    ]


def _carries(process: psutil.Process, mark: str) -> bool:
    try:
        tracks_ours = process.ppid() == os.getpid() and any(
            "multiprocessing.resource_tracker" in word for word in process.cmdline()
        )
        return (
            process.status() != psutil.STATUS_ZOMBIE
            and mark in process.environ().get(MARK, "").split()
            and not tracks_ours
        )
    except (psutil.Error, OSError):
        return False


def end_all(mark: str, seconds: float = 10.0) -> list[str]:
    """Kill what carries this mark; answers what had to be killed."""
    found = survivors(mark)
    said = []
    for process in found:
        try:
            said.append(f"{process.pid}: {' '.join(process.cmdline())}")
            process.kill()
        except psutil.NoSuchProcess:
            pass
    psutil.wait_procs(found, seconds)
    return said
