"""Ends event streams, long-polls, chats and downloads within seconds of the end of the key or
session that they were opened with."""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import redis

from common.errors import PromptmillError, Unauthorized
from common.store.grants import Grant, still_valid
from web.services.watch import Watch

LOOK = 2.0  # seconds between two looks

log = logging.getLogger(__name__)


class Guard:
    """One per process. Its thread starts with the first guarded watch: after the server has forked,
    and only in processes that need it."""

    def __init__(self, client: redis.Redis):
        self._client = client
        self._open: defaultdict[Grant, set[Watch]] = defaultdict(set)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @contextmanager
    def guarded(self, grant: Grant, watch: Watch) -> Iterator[Watch]:
        """While this is open, the watch ends when the grant does."""
        with self._lock:
            self._open[grant].add(watch)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="guard", daemon=True)
                self._thread.start()
        try:
            yield watch
        finally:
            with self._lock:
                self._open[grant].discard(watch)
                if not self._open[grant]:
                    del self._open[grant]

    def _run(self) -> None:
        while True:
            time.sleep(LOOK)
            try:
                self._look()
            except PromptmillError as error:
                log.warning("could not look which keys and sessions are still good: %s", error)
            except Exception:  # without this thread nothing would end
                log.exception("could not look which keys and sessions are still good")

    def _look(self) -> None:
        with self._lock:
            grants = list(self._open)
        if not grants:
            return
        for ended in set(grants) - still_valid(self._client, grants):
            with self._lock:
                for watch in self._open.get(ended, ()):
                    watch.end(Unauthorized("the API key was revoked, or the session has ended"))
