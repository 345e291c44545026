"""Passes requests and cancellations to an engine's thread, and finished requests back.

Each submitted request comes out exactly once: it stays open until `finish` hands it over.
"""

from __future__ import annotations

import threading
from typing import Literal

from common.generation import Finished, Request
from worker.engine.scheduling.finished_queue import FinishedQueue

Reason = Literal["cancelled", "expired"]


class Mailbox:
    """All methods may be called from any thread. The engine calls `take` and `finish`, its holder
    the others, and those of `finished`."""

    def __init__(self, slots: int):
        self.finished = FinishedQueue()
        self._slots = slots
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)  # the engine waits here
        self._requests: list[Request] = []
        self._cancelled: dict[str, Reason] = {}
        self._open: dict[str, int] = {}  # request id -> slots promised to it
        self._promised = 0
        self._stopped = False

    def submit(self, request: Request) -> None:
        """Queue a request, and promise it as many slots as it has continuations.

        Raises:
            ValueError: a request with this id is open.
        """
        with self._lock:
            if request.id in self._open:
                raise ValueError(f"request {request.id!r} is already in the engine")
            self._open[request.id] = request.params.n
            self._promised += request.params.n
            self._requests.append(request)
            if len(self._requests) == 1:
                self._work.notify()

    def cancel(self, request_id: str, reason: Reason) -> None:
        """Ask the engine to end a request; ids that are not open are ignored."""
        with self._lock:
            if request_id in self._open:
                self._cancelled[request_id] = reason
                self._work.notify()

    def room(self) -> int:
        """Slots that are not promised to an open request."""
        return max(0, self._slots - self._promised)

    def close(self) -> None:
        """Let the engine's thread end: `take` answers None from now on."""
        with self._lock:
            self._stopped = True
            self._work.notify()

    def take(self, timeout: float | None) -> tuple[list[Request], dict[str, Reason]] | None:
        """New requests, and requests to end with the reason for each. Waits up to `timeout` seconds
        (None: without limit) if there are neither; None once the mailbox is closed."""
        with self._lock:
            if not self._requests and not self._cancelled and not self._stopped and timeout != 0:
                self._work.wait(timeout)
            if self._stopped:
                return None
            requests, self._requests = self._requests, []
            cancelled, self._cancelled = self._cancelled, {}
            return requests, cancelled

    def finish(self, finished: list[Finished]) -> None:
        """Hand over finished requests; they are not open any more."""
        with self._lock:
            for result in finished:
                self._promised -= self._open.pop(result.id)
                self._cancelled.pop(result.id, None)
        self.finished.put(finished)
