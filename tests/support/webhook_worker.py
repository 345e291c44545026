"""A webhook worker as it is deployed."""

from __future__ import annotations

import os
import signal
import sys

from common.types import ModelCard
from tests.support.processes import ROOT, spawn

CARD = ModelCard(
    id="echo",
    digest="d",
    engine="echo",
    device="cpu",
    dtype="none",
    context=64,
    slots=8,
    tokenizer="words",
    created=0,
)


class WebhookWorker:
    """A webhook worker as it is deployed: a Celery process of its own."""

    def __init__(self, redis_url: str, queue: str = "webhooks", **settings: object):
        env = os.environ | {
            "REDIS_URL": redis_url,
            "PROMPTMILL_WEBHOOK_BACKOFF": "0.05",
            "PYTHONPATH": str(ROOT),
        }
        env |= {f"PROMPTMILL_{name.upper()}": str(value) for name, value in settings.items()}
        alone = ["--without-gossip", "--without-mingle"]
        command = [
            sys.executable,
            "-m",
            "celery",
            "-A",
            "worker.webhooks",
            "worker",
            "-Q",
            queue,
            *alone,
        ]
        self._process = spawn(command, cwd=ROOT, env=env, start_new_session=True)

    def kill(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)

    def stop(self) -> int:
        """End in order; answers the exit code."""
        self._process.terminate()
        try:
            return self._process.wait(20)
        finally:
            if self._process.poll() is None:
                self.kill()

    @property
    def running(self) -> bool:
        return self._process.poll() is None
