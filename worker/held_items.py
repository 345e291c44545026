"""The items that this worker holds, and what happens to each of them: input to be read, generation
to end, or result to be handed in.

Knows neither the store nor the engine: the exchange moves the items, the heartbeat reads what runs.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Literal

from common.result_row import ResumedOn
from common.store.incarnation import MIXED, Result, Run


@dataclass(frozen=True, slots=True)
class HeldItem:
    """An item that the store gave to this worker: its place, and what its result needs."""

    job_id: str
    index: int
    attempt: int  # with the incarnation, the fencing token of the result
    seed: int
    queued_s: float
    started: float  # monotonic seconds
    streamed: bool = False
    resumed: int = 0  # tokens of all its continuations that a checkpoint had when it started
    # The version of the library that follows its grammar, if it has one: tokens that were made
    # under one version are not continued under another.
    guidance: str | None = None
    # What computed its tokens: this worker's kernels, or `MIXED` where others began it.
    kernels: str = ""
    # What became of its checkpoint where the engine cannot go on from one exactly.
    inexact: Literal["other_draws", "from_start"] | None = None

    @property
    def resumed_on(self) -> ResumedOn | None:
        """Why its text may differ from what one worker writes with the same seed."""
        return self.inexact or ("other_kernels" if self.kernels == MIXED else None)


class HeldItems:
    """The items of one incarnation at a time.

    An item is in `unread` until its input is read, in `running()` while the engine has it, and in
    `unsent` when its result waits for the next exchange. `sending` are the arguments of an exchange
    whose reply has not come: its results, and the slots it asked for.
    """

    def __init__(self) -> None:
        self.unread: list[tuple[Run, int]] = []  # with the server's time of the claim, in ms
        self.unsent: list[Result] = []
        self.sending: tuple[list[Result], int] | None = None
        self._running: dict[str, HeldItem] = {}  # by request id
        self._lock = threading.Lock()  # guards `_running`

    @property
    def busy(self) -> bool:
        """Whether an item is held, or may be: a reply that has not come may bring some."""
        return bool(self._running or self.unread or self.unsent or self.sending)

    @property
    def count(self) -> int:
        """Items that are held, without those whose results are being sent."""
        return len(self._running) + sum(run.count for run, _ in self.unread) + len(self.unsent)

    @property
    def results(self) -> int:
        """Results that wait to be handed in."""
        return len(self.unsent) + len(self.sending[0] if self.sending else [])

    def send(self, room: int) -> tuple[list[Result], int]:
        """The arguments of the next exchange: results, and the slots to fill.

        If the last exchange had no reply they are the same again. The server may have carried it
        out, and then repeats its answer.
        """
        if self.sending is None:
            self.sending, self.unsent = (self.unsent, room), []
        return self.sending

    def running(self) -> dict[str, HeldItem]:
        """The items that the engine has, by request id."""
        with self._lock:
            return dict(self._running)

    def start(self, request_id: str, item: HeldItem) -> None:
        with self._lock:
            self._running[request_id] = item

    def finish(self, request_id: str) -> HeldItem | None:
        """The item of a finished request; None if an earlier incarnation held it."""
        with self._lock:
            return self._running.pop(request_id, None)

    def clear(self) -> list[str]:
        """Forget all items. Returns the ids of the requests that the engine still has."""
        with self._lock:
            dropped, self._running = list(self._running), {}
        self.unread, self.unsent, self.sending = [], [], None
        return dropped
