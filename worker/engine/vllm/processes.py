"""The processes that vLLM starts: one for each GPU of a model that takes several, and on a CPU
always.

They are children of the worker process. A signal to the whole group (a terminal's Ctrl-C, docker
stop, systemd) must not end them before the worker has drained; none may outlive it, however it
ends; and when one dies, the worker must know. Knows nothing of requests and texts.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from multiprocessing.process import BaseProcess
from multiprocessing.resource_tracker import ensure_running
from pathlib import Path

from worker.engine.vllm import child

GROUP_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT}
END_LIMIT = 5.0  # seconds that they have to end by themselves
SHARED = "/dev/shm/vllm_dist_"  # noqa: S108  how names of memory begin that vLLM never removes


class Processes:
    """The processes of one engine."""

    def __init__(self) -> None:
        self._all: list[BaseProcess] = []
        self._ending = False

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Around the start of vLLM's engine, in a thread that lives as long as it: its processes
        end with the thread. If the start fails, none is left."""
        before = multiprocessing.active_children()
        # Runs before multiprocessing's own, which sends SIGTERM and waits for ever.
        atexit.register(self.kill)
        try:
            with _child_as_main(), _signals_blocked():
                yield
        except BaseException:
            self._adopt(before)
            self.kill()
            raise
        self._adopt(before)
        self._forget_shared_memory()

    def _adopt(self, before: list[BaseProcess]) -> None:
        self._all = [each for each in multiprocessing.active_children() if each not in before]

    def _forget_shared_memory(self) -> None:
        """Remove the names of the memory in which the processes exchange sums on a CPU. All of them
        have it open by now."""
        for each in self._all:
            with suppress(OSError):
                maps = Path(f"/proc/{each.pid}/maps").read_text()
                for line in maps.splitlines():
                    _, found, name = line.partition(SHARED)
                    if found:
                        Path(found + name).unlink(missing_ok=True)

    def lost(self) -> bool:
        """Whether one of them has died before its end was wanted: no step can end any more."""
        return not self._ending and any(not each.is_alive() for each in self._all)

    def end(self, shut_down: Callable[[], object]) -> None:
        """End all of them: `shut_down` asks vLLM for it, and what has not ended after `END_LIMIT`
        is killed."""
        self._ending = True
        limit = threading.Timer(END_LIMIT, self.kill)
        limit.daemon = True
        limit.start()
        try:
            shut_down()
        finally:
            limit.cancel()
            self.kill()

    def kill(self) -> None:
        """End all of them at once."""
        for each in self._all:
            each.kill()
        for each in self._all:
            each.join(END_LIMIT)


@contextmanager
def _child_as_main() -> Iterator[None]:
    """Processes that are spawned within run `child` first, not the program of this one."""
    main = sys.modules["__main__"]
    program, main.__spec__ = main.__spec__, find_spec(child.__name__)
    os.environ[child.PARENT] = str(os.getpid())
    try:
        yield
    finally:
        main.__spec__ = program
        del os.environ[child.PARENT]


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Processes that are started within have the signals to groups blocked, for as long as they
    live. Those that come to this one meanwhile wait, or go to another thread."""
    ensure_running()  # where this starts a process, it takes signals off the mask
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, GROUP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
