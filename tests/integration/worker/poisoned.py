"""A worker whose engine dies of one prompt and hangs on another.

`celery -A tests.integration.worker.poisoned worker`.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import worker.bootsteps
from common.generation import Finished, Request
from worker.app import app
from worker.models import OpenedModel, open_model

__all__ = ["app"]

DEADLY, STICKY = "deadly", "sticky"
DELAY = 0.5  # seconds a deadly prompt runs before it strikes


def open_poisoned(*args: Any, **options: Any) -> OpenedModel:
    opened = open_model(*args, **options)
    engine, submit, collect = opened.engine, opened.engine.submit, opened.engine.collect
    hung_since: list[float] = []

    def take(request: Request) -> None:
        if DEADLY in request.prompt:
            threading.Timer(DELAY, os.kill, (os.getpid(), signal.SIGKILL)).start()
        if STICKY in request.prompt:
            hung_since.append(time.monotonic())
        submit(request)

    def give(timeout: float) -> list[Finished]:
        """Nothing ends while a step hangs."""
        finished = collect(timeout)
        return [] if hung_since else finished

    engine.submit, engine.collect = take, give  # type: ignore[method-assign]
    engine.step_age = lambda: time.monotonic() - hung_since[0] if hung_since else 0.0  # type: ignore[method-assign]
    return opened


vars(worker.bootsteps)["open_model"] = open_poisoned
