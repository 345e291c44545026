"""The heartbeat: renews the lease while the engine steps or idles, and ends the process when a step hangs."""

from __future__ import annotations

import logging
import os
import threading

from common.errors import Unavailable
from common.settings import Settings
from worker.gpu import GpuLock
from worker.runner import Runner

log = logging.getLogger(__name__)

WEDGED = 70  # exit status: the engine is stuck, a restart is the cure


class Heartbeat(threading.Thread):
    """Beats every `heartbeat` seconds. A wedged engine cannot be interrupted, so its process ends and its items go on
    elsewhere when the lease runs out."""

    def __init__(self, runner: Runner, settings: Settings, gpu: GpuLock | None):
        super().__init__(name="heartbeat", daemon=True)
        self._runner = runner
        self._settings = settings
        self._gpu = gpu
        self._stop_now = threading.Event()

    def run(self) -> None:
        while not self._stop_now.wait(self._settings.heartbeat):
            self._check_engine()
            try:
                self._runner.heartbeat()
                if self._gpu:
                    self._gpu.renew()
            except Unavailable as error:
                log.warning("no heartbeat: %s", error)
            except Exception:  # a dead heartbeat would lose the lease of a living worker
                log.exception("heartbeat failed; trying on")

    def _check_engine(self) -> None:
        age = self._runner.engine.step_age()
        if age > self._settings.wedge_limit:
            log.critical("an engine step has been running for %.0f s (limit %.0f s): ending", age, self._settings.wedge_limit)
            os._exit(WEDGED)

    def stop(self) -> None:
        self._stop_now.set()
        self.join(timeout=10)
