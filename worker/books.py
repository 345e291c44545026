"""The worker's books: where each item is that the store gave out to it. Knows neither the store nor
the engine.

An item is *unread* until its input is fetched, *running* while the engine has it, *unsent* when
there is a result to hand in. The turn moves items; the heartbeat reads what runs.
"""

from __future__ import annotations

import threading

from common.store.fleet import Result, Run
from worker.claims import Claim


class Books:
    """Of one incarnation at a time. `sending` is an exchange without a reply: its results, and room
    asked for."""

    def __init__(self) -> None:
        self.unread: list[tuple[Run, int]] = []  # with the server's time at the claim
        self.unsent: list[Result] = []  # to hand in with the next exchange
        self.sending: tuple[list[Result], int] | None = None
        self._running: dict[str, Claim] = {}  # by request id
        self._lock = threading.Lock()  # guards `_running`

    @property
    def busy(self) -> bool:
        """Something is held, or may be."""
        return bool(self._running or self.unread or self.unsent or self.sending)

    @property
    def items(self) -> int:
        """Held and known; what is being sent is not counted."""
        return len(self._running) + sum(run.count for run, _ in self.unread) + len(self.unsent)

    @property
    def results(self) -> int:
        """That wait to be handed in."""
        return len(self.unsent) + len(self.sending[0] if self.sending else [])

    def send(self, room: int) -> tuple[list[Result], int]:
        """What the next exchange is to say. Without a reply to the last one it says the same again:
        the server may have done it, and then answers as it did."""
        if self.sending is None:
            self.sending, self.unsent = (self.unsent, room), []
        return self.sending

    def running(self) -> dict[str, Claim]:
        """What the engine has, by request id."""
        with self._lock:
            return dict(self._running)

    def runs(self, request_id: str, claim: Claim) -> None:
        with self._lock:
            self._running[request_id] = claim

    def ended(self, request_id: str) -> Claim | None:
        """What this request was; None for one of an earlier incarnation."""
        with self._lock:
            return self._running.pop(request_id, None)

    def clear(self) -> list[str]:
        """Forget everything; answers what the engine has."""
        with self._lock:
            dropped, self._running = list(self._running), {}
        self.unread, self.unsent, self.sending = [], [], None
        return dropped
