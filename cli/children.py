"""The parts as processes: started, watched, started again when they crash, ended in order.

Each has a process group of its own, so that Ctrl-C reaches only us, and a log file. It ends by
itself when we are killed: it is told our id and looks whether we are still its parent
(`follow_parent`).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import BinaryIO

LONGEST_PAUSE = 30.0  # seconds between two restarts of a part that keeps crashing
STEADY = 60.0  # seconds after which a part counts as recovered
LOG_LIMIT = 10 * 2**20  # bytes of a log that are kept across starts
LAST_WORDS = 15  # lines of the log shown when a part crashes
LOOK = 0.5  # seconds between two looks at parent or children

PrintLine = Callable[[str], object]
Remember = Callable[[list[int]], object]  # writes down the children's process ids


class Child:
    """One part: `promptmill ARGUMENTS` in a process of its own.

    `limit` is how many seconds it may take to end. Without `log` it writes where we write.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        env: Mapping[str, str],
        *,
        log: Path | None = None,
        limit: float = 10.0,
    ):
        self.name = name
        self.limit = limit
        self._command = [sys.executable, "-m", "cli.main", *arguments]
        self._env = {**env, "PROMPTMILL_PARENT": str(os.getpid())}
        self._log = log
        self._crashes = 0
        self._started_at = 0.0  # monotonic
        self._retry_at: float | None = None  # monotonic; set while it is down
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._open_log() as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._started_at = time.monotonic()
        self._retry_at = None

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs, and before it was started."""
        return self._process.poll() if self._process else None

    def last_words(self) -> str:
        if not self._log:
            return "  (see above)"
        lines = self._log.read_text(errors="replace").strip().splitlines()[-LAST_WORDS:]
        return "\n".join(f"  {line}" for line in lines) + f"\n  (all of it: {self._log})"

    def _open_log(self) -> AbstractContextManager[BinaryIO | None]:
        if not self._log:
            return nullcontext()
        if self._log.exists() and self._log.stat().st_size > LOG_LIMIT:
            self._log.replace(self._log.with_suffix(".old.log"))
        return self._log.open("ab")

    def tend(self, print_line: PrintLine) -> bool:
        """Start it again once the pause after a crash is over; True when it was."""
        if self.exit_code is None:
            return False
        now = time.monotonic()
        if self._retry_at is None:
            self._crashes = 1 if now - self._started_at > STEADY else self._crashes + 1
            pause = min(2.0 ** (self._crashes - 1), LONGEST_PAUSE)
            self._retry_at = now + pause
            print_line(
                f"{self.name} ended with exit code {self.exit_code}, next start in {pause:.0f} s. "
                "It said last:"
            )
            print_line(self.last_words())
        if now < self._retry_at:
            return False
        self.start()
        return True

    def terminate(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.terminate()

    def wait(self) -> None:
        """Until it ended, or was killed because it took too long."""
        if not self._process:
            return
        try:
            self._process.wait(self.limit)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """At once, with all it started."""
        if self._process and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


class Children:
    """Several parts, in stages: those of one stage are ended together, and before those of the
    next."""

    def __init__(
        self,
        stages: Sequence[Sequence[Child]],
        print_line: PrintLine,
        remember: Remember = lambda _pids: None,
    ):
        self._stages = stages
        self._children = [child for stage in stages for child in stage]
        self._print_line = print_line
        self._remember = remember

    def start(self) -> None:
        for child in self._children:
            child.start()
        self._remember_pids()

    @property
    def pids(self) -> list[int]:
        return [child.pid for child in self._children]

    def failed(self) -> Child | None:
        """The first that is not running."""
        return next((child for child in self._children if child.exit_code is not None), None)

    def tend(self) -> None:
        started = [child for child in self._children if child.tend(self._print_line)]
        if started:
            self._remember_pids()

    def stop(self) -> None:
        """End one stage after the other, each part within its limit; Ctrl-C kills what is left."""
        try:
            for stage in self._stages:
                for child in stage:
                    child.terminate()
                for child in stage:
                    child.wait()
        except KeyboardInterrupt:
            for child in self._children:
                child.kill()
        self._remember([])

    def _remember_pids(self) -> None:
        self._remember(self.pids)


def follow_parent() -> None:
    """End this process at once when the one that started it as a part is gone; does nothing in any
    other process."""
    parent = os.environ.pop("PROMPTMILL_PARENT", None)
    if parent is None:
        return

    def watch() -> None:
        while os.getppid() == int(parent):
            time.sleep(LOOK)
        os._exit(1)

    threading.Thread(target=watch, name="follow-parent", daemon=True).start()


def end_on_signals() -> None:
    """SIGTERM and a closed terminal end us as Ctrl-C does: by KeyboardInterrupt, so that parts are
    ended in order.

    What is ignored stays so: `nohup` means it.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
