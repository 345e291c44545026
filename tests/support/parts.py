"""A part of promptmill as a process of its own: the web tier, a worker, a webhook worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.processes import ROOT, killed_on_error, spawn
from tests.support.waiting import wait_until

WEB = ("web.serve",)
WORKER = ("celery", "-q", "-A", "worker.app", "worker")
WEBHOOKS = ("celery", "-A", "worker.webhooks", "worker", "-Q", "webhooks")


def environment(redis_url: str, **settings: object) -> dict[str, str]:
    """Ours, with settings: PROMPTMILL_ variables in lower case; None keeps the default."""
    given = {
        f"PROMPTMILL_{name.upper()}": str(value)
        for name, value in settings.items()
        if value is not None
    }
    return dict(os.environ) | given | {"REDIS_URL": redis_url, "PYTHONPATH": str(ROOT)}


class Part:
    """`python -m` these words, in a session of its own, with what it prints in a file."""

    def __init__(self, words: tuple[str, ...], redis_url: str, log: Path, **settings: object):
        self._log = log
        env = environment(redis_url, **settings)
        with log.open("wb") as sink:
            self.process: subprocess.Popen[bytes] = spawn(
                [sys.executable, "-m", *words],
                cwd=ROOT,
                env=env,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def wait_until_said(self, text: str) -> None:
        """Wait for a line of the log; fails if the process ends before."""
        with killed_on_error(self.process):
            wait_until(lambda: text in self.log or not self.running, lambda: self.log)
            assert self.running, self.log

    def kill(self) -> None:
        """What a power cut does to it, and to all it started."""
        if self.running:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def stop(self, limit: float = 20.0) -> int:
        """End it in order; the exit code."""
        if self.running:
            self.process.terminate()
        with killed_on_error(self.process):
            return self.process.wait(limit)
