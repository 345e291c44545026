"""The heartbeat: renews the lease while the engine steps or idles, and ends the process when a step
hangs."""

from __future__ import annotations

import logging
import math
import threading
import time

import redis

from common.errors import Unavailable
from common.settings import Settings
from common.store import keys
from worker.model_server import ModelServer
from worker.process_end import WEDGED, end_process

log = logging.getLogger(__name__)


class Heartbeat(threading.Thread):
    """Beats every `settings.heartbeat` seconds, and at once when a job of this worker is cancelled
    or paused. Also receives this worker's wakes.

    A step that hangs cannot be interrupted. So the process ends, and its items go to other workers
    when the lease expires.
    """

    def __init__(self, client: redis.Redis, model_server: ModelServer, settings: Settings):
        super().__init__(name="heartbeat", daemon=True)
        self._model_server = model_server
        self._settings = settings
        self._messages = client.pubsub()
        self._messages.subscribe(keys.WISHES)
        self._channel = ""  # on which this incarnation is woken
        self._stop_now = threading.Event()

    def run(self) -> None:
        while not self._wait():
            self._check_engine()
            try:
                self._model_server.heartbeat()
                if self._model_server.needs_turn():
                    log.warning(
                        "rings wait that do not arrive, or items that no turn serves; taking a turn"
                    )
                    self._model_server.wake()
            except Unavailable as error:
                log.warning("no heartbeat: %s", error)
            except Exception:  # if this thread ended, a living worker would lose its lease
                log.exception("the heartbeat failed; the next one follows")

    def _wait(self) -> bool:
        """Wait until the next beat is due, or a held job is to be stopped. True if this thread is
        to end."""
        end = time.monotonic() + self._settings.heartbeat
        while (left := end - time.monotonic()) > 0 and not self._stop_now.is_set():
            try:
                self._subscribe()
                message = self._messages.get_message(ignore_subscribe_messages=True, timeout=left)
            except redis.RedisError:
                self._stop_now.wait(left)
                break
            if message and message["channel"] != keys.WISHES.encode():
                self._model_server.wake()
            elif message and self._model_server.holds(message["data"].decode()):
                break
        return self._stop_now.is_set()

    def _subscribe(self) -> None:
        """Subscribe to the wakes of this incarnation; a worker that started over has a new one."""
        channel = keys.work(self._model_server.incarnation.id)
        if channel != self._channel:
            self._messages.subscribe(channel)
            if self._channel:
                self._messages.unsubscribe(self._channel)
            self._channel = channel

    def _check_engine(self) -> None:
        age, limit = self._model_server.engine.step_age(), self._model_server.wedge_limit
        if age <= limit:
            return
        if math.isinf(age):
            log.critical("the engine computes no more: ending")
        else:
            log.critical(
                "an engine step has been running for %.0f s (limit %.0f s): ending", age, limit
            )
        end_process(WEDGED)

    def stop(self) -> None:
        self._stop_now.set()
        self.join(timeout=10)
        self._messages.close()
