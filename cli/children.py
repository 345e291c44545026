"""Child processes: starts, watches and restarts the parts of promptmill, and ends them in order.

Each child has its own process group, so that Ctrl-C reaches only this process, and a log file. A
child ends by itself when this process is killed: it gets our process id, and looks whether we are
still its parent (`follow_parent`).
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
from types import FrameType
from typing import BinaryIO

from cli.terminal import PrintLine

LONGEST_PAUSE = 30.0  # seconds between two restarts of a part that crashes again and again
STEADY = 60.0  # seconds without a crash after which a part counts as recovered
LOG_LIMIT = 10 * 2**20  # bytes above which a log is renamed at the next start
LAST_LINES = 15  # of the log, printed when a part crashes
LOOK = 0.5  # seconds between two looks at the parent or the children

Remember = Callable[[list[int]], object]  # records the process ids of the children


class Child:
    """One part: `promptmill ARGUMENTS` as a child process.

    It may take `limit` seconds to end. Without `log` its output goes where ours goes.
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
        """None while it runs, and before its first start."""
        return self._process.poll() if self._process else None

    def last_lines(self) -> str:
        if not self._log:
            return "  (above)"
        lines = self._log.read_text(errors="replace").strip().splitlines()[-LAST_LINES:]
        return "\n".join(f"  {line}" for line in lines) + f"\n  (the whole log: {self._log})"

    def _open_log(self) -> AbstractContextManager[BinaryIO | None]:
        if not self._log:
            return nullcontext()
        if self._log.exists() and self._log.stat().st_size > LOG_LIMIT:
            self._log.replace(self._log.with_suffix(".old.log"))
        return self._log.open("ab")

    def tend(self, print_line: PrintLine) -> bool:
        """Start it again when the pause after its crash is over. Returns whether it was started."""
        if self.exit_code is None:
            return False
        now = time.monotonic()
        if self._retry_at is None:
            self._crashes = 1 if now - self._started_at > STEADY else self._crashes + 1
            pause = min(2.0 ** (self._crashes - 1), LONGEST_PAUSE)
            self._retry_at = now + pause
            print_line(
                f"{self.name} ended with exit code {self.exit_code}; it is started again in "
                f"{pause:.0f} s. Its last output:"
            )
            print_line(self.last_lines())
        if now < self._retry_at:
            return False
        self.start()
        return True

    def terminate(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.terminate()

    def wait(self) -> None:
        """Wait until it ends, and kill it when its limit is over."""
        if not self._process:
            return
        try:
            self._process.wait(self.limit)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it at once, with all processes it started."""
        if self._process and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


class Children:
    """Several parts in stages. The parts of a stage end together, before those of the next."""

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
        """The first child that does not run."""
        return next((child for child in self._children if child.exit_code is not None), None)

    def tend(self) -> None:
        started = [child for child in self._children if child.tend(self._print_line)]
        if started:
            self._remember_pids()

    def stop(self) -> None:
        """End the stages in turn, each part within its limit; Ctrl-C kills all that are left."""
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
    """End this process when its parent is gone, if the parent started it as a part."""
    parent = os.environ.pop("PROMPTMILL_PARENT", None)
    if parent is None:
        return

    def watch() -> None:
        while os.getppid() == int(parent):
            time.sleep(LOOK)
        os._exit(1)

    threading.Thread(target=watch, name="follow-parent", daemon=True).start()


def end_on_signals() -> None:
    """Raise KeyboardInterrupt for SIGTERM and a closed terminal, as for Ctrl-C, so that the parts
    end in order. Once they end, only Ctrl-C does so: supervisors may repeat a SIGTERM, which asks
    for nothing new. Signals that are ignored, as under `nohup`, stay ignored."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:
    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    signal.default_int_handler(number, frame)
