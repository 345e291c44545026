"""A worker with the echo engine that claims GPUs, as one with weights does, and renews its locks
twice a second.

`celery -A tests.integration.worker.claiming worker`.
"""

from __future__ import annotations

import worker.gpu
from common.settings import Settings
from worker.app import app

__all__ = ["app"]

vars(worker.gpu)["LEASE"] = 1500  # ms
Settings.is_echo = False  # type: ignore[method-assign, assignment]
