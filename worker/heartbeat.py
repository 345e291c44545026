"""The heartbeat: renews the lease while the engine steps or idles, and ends the process when a step
hangs."""

from __future__ import annotations

import logging
import os
import threading
import time

import redis

from common.errors import Unavailable
from common.settings import Settings
from common.store import keys
from worker.model_server import Runner

log = logging.getLogger(__name__)

WEDGED = 70  # exit status: the engine is stuck, a restart is the cure


class Heartbeat(threading.Thread):
    """Beats every `heartbeat` seconds. A wedged engine cannot be interrupted, so its process ends
    and its items go on elsewhere when the lease runs out."""

    def __init__(self, client: redis.Redis, runner: Runner, settings: Settings):
        super().__init__(name="heartbeat", daemon=True)
        self._runner = runner
        self._settings = settings
        self._wishes = client.pubsub()
        self._wishes.subscribe(keys.WISHES)
        self._channel = ""  # where this incarnation is woken
        self._stop_now = threading.Event()

    def run(self) -> None:
        while not self._wait():
            self._check_engine()
            try:
                self._runner.heartbeat()
                if self._runner.deaf or self._runner.stranded:
                    log.warning(
                        "rings wait that do not arrive, or items that no turn serves; taking a turn"
                    )
                    self._runner.wake()
            except Unavailable as error:
                log.warning("no heartbeat: %s", error)
            except Exception:  # a dead heartbeat would lose the lease of a living worker
                log.exception("heartbeat failed; trying on")

    def _listen(self) -> None:
        """Subscribe to what wakes this incarnation; a worker that started over has another."""
        channel = keys.work(self._runner.incarnation.id)
        if channel != self._channel:
            self._wishes.subscribe(channel)
            if self._channel:
                self._wishes.unsubscribe(self._channel)
            self._channel = channel

    def _wait(self) -> bool:
        """Until the next beat is due or a wish for something we hold is told; True when it is time
        to stop."""
        end = time.monotonic() + self._settings.heartbeat
        while (left := end - time.monotonic()) > 0 and not self._stop_now.is_set():
            try:
                self._listen()
                message = self._wishes.get_message(ignore_subscribe_messages=True, timeout=left)
            except redis.RedisError:
                self._stop_now.wait(left)
                break
            if message and message["channel"] != keys.WISHES.encode():
                self._runner.wake()
            elif message and self._runner.holds(message["data"].decode()):
                break
        return self._stop_now.is_set()

    def _check_engine(self) -> None:
        age, limit = self._runner.engine.step_age(), self._runner.wedge_limit
        if age > limit:
            log.critical(
                "an engine step has been running for %.0f s (limit %.0f s): ending", age, limit
            )
            os._exit(WEDGED)

    def stop(self) -> None:
        self._stop_now.set()
        self.join(timeout=10)
        self._wishes.close()
