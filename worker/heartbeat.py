"""The heartbeat: renews the leases while the engine steps or idles, and ends the process when a
step hangs."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Sequence

import redis

from common.errors import Unavailable
from common.settings import Settings
from common.store import keys
from worker.model_server import ModelServer
from worker.process_end import WEDGED, end_process

log = logging.getLogger(__name__)


class Heartbeat(threading.Thread):
    """Beats every `settings.heartbeat` seconds for the models of this process, and at once when a
    job of theirs is cancelled or paused. Also receives their wakes.

    A step that hangs cannot be interrupted. So the process ends, and its items go to other workers
    when the lease expires.
    """

    def __init__(
        self, client: redis.Redis, model_servers: Sequence[ModelServer], settings: Settings
    ):
        super().__init__(name="heartbeat", daemon=True)
        self._servers = model_servers
        self._settings = settings
        self._messages = client.pubsub()
        self._messages.subscribe(keys.WISHES)
        # The channels on which each server is woken; those of incarnations.
        self._channels: dict[str, ModelServer] = {}
        self._stop_now = threading.Event()

    def run(self) -> None:
        while not self._wait():
            self._check_engine()
            try:
                for server in self._servers:
                    self._beat(server)
            except Unavailable as error:  # they have the same server
                log.warning("no heartbeat: %s", error)

    def _beat(self, server: ModelServer) -> None:
        """Beat for one model.

        Raises:
            Unavailable: Redis cannot be reached.
        """
        try:
            server.heartbeat()
            if server.needs_turn():
                log.warning(
                    "rings wait that do not arrive, or items that no turn serves; taking a turn"
                )
                server.wake()
        except Unavailable:
            raise
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
            if not message:
                continue
            channel, data = message["channel"].decode(), message["data"].decode()
            if channel == keys.WISHES and any(server.holds(data) for server in self._servers):
                break
            if server := self._channels.get(channel):
                server.wake()
        return self._stop_now.is_set()

    def _subscribe(self) -> None:
        """Subscribe to the wakes of the incarnations; a server that started over has a new one."""
        channels = {keys.work(server.incarnation.id): server for server in self._servers}
        if new := channels.keys() - self._channels.keys():
            self._messages.subscribe(*new)
        if old := self._channels.keys() - channels.keys():
            self._messages.unsubscribe(*old)
        self._channels = channels

    def _check_engine(self) -> None:
        age = self._servers[0].engine.step_age()
        limit = max(server.wedge_limit for server in self._servers)
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
