"""What streamed items say while they run: gathered from the engine's thread, told to the store a
few times a second.

The first token goes out at once, later ones in flushes of all that came meanwhile. A token that is
told twice, by this worker or by one that took the item over, is known by its position; one that is
never told is in the item's result.
"""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import dataclass, field
from typing import Any

from common.errors import Unavailable
from common.store.fleet import Incarnation
from common.types import Request, TokenLogprob
from worker.claims import Claim, shown_logprob

log = logging.getLogger(__name__)

# Seconds between flushes: what the eye takes for steady, and few writes for the store.
PERIOD = 0.025
PATIENCE = 1.0  # seconds between looks at whether it is time to stop


@dataclass(slots=True)
class _Said:
    """Of one item: for each continuation the position of its first token that is not told yet, and
    those tokens."""

    claim: Claim
    told: list[int]
    tokens: list[list[Any]] = field(default_factory=list)

    def take(self) -> str | None:
        """A flush's entry, or None where nothing is new."""
        parts = []
        for sequence, tokens in enumerate(self.tokens):
            if tokens:
                parts.append([sequence, self.told[sequence], tokens])
                self.told[sequence] += len(tokens)
                self.tokens[sequence] = []
        return json.dumps(parts, ensure_ascii=False, separators=(",", ":")) if parts else None


class Streams(threading.Thread):
    """One per worker. `follow` and `forget` are the turn's; tokens come from the engine's
    thread."""

    def __init__(self) -> None:
        super().__init__(name="streams", daemon=True)
        self._incarnation: Incarnation | None = None
        self._said: dict[str, _Said] = {}  # by request id
        self._new: set[str] = set()  # request ids with something to tell
        self._lock = threading.Lock()
        # Whoever waited for it finds everything told that was said before.
        self._flushing = threading.Lock()
        self._wanted = threading.Event()
        self._first = threading.Event()  # somebody has waited long enough for a first token
        self._stop_now = False

    def speak_as(self, incarnation: Incarnation) -> None:
        """From now on under this name; what an earlier one had to tell is others' business."""
        with self._lock:
            self._incarnation = incarnation
            self._said.clear()
            self._new.clear()

    def follow(self, claim: Claim, request: Request) -> None:
        """Tell what this request says, from where a checkpoint left it."""
        told = [len(tokens) for tokens in request.resume or []]
        told += [0] * (request.params.n - len(told))
        with self._lock:
            self._said[request.id] = _Said(claim, told, [[] for _ in told])

        def on_token(sequence: int, _token: int, text: str, logprob: TokenLogprob | None) -> None:
            self._note(request.id, sequence, [text, shown_logprob(logprob)] if logprob else text)

        request.on_token = on_token

    def forget(self, request_id: str) -> None:
        """It is over: its result tells the rest."""
        with self._lock:
            self._said.pop(request_id, None)
            self._new.discard(request_id)

    def flush(self) -> None:
        """Tell what was said so far.

        Raises:
            Unavailable: the server is away; the tokens of this flush are left to the results.
        """
        with self._flushing:
            with self._lock:
                incarnation = self._incarnation
                said = [(self._said[name].claim, self._said[name].take()) for name in self._new]
                self._new.clear()
            entries = [
                (claim.job_id, claim.index, claim.attempt, entry) for claim, entry in said if entry
            ]
            if entries and incarnation:
                incarnation.stream(entries)

    def _note(self, request_id: str, sequence: int, token: Any) -> None:
        with self._lock:
            if said := self._said.get(request_id):
                if not said.told[sequence] and not said.tokens[sequence]:
                    self._first.set()
                said.tokens[sequence].append(token)
                self._new.add(request_id)
        self._wanted.set()

    def run(self) -> None:
        while not self._stop_now:
            if not self._wanted.wait(PATIENCE):
                continue
            self._wanted.clear()
            self._first.clear()
            try:
                self.flush()
            except Unavailable as error:
                log.warning("some streamed tokens come with their results only: %s", error)
            except Exception:  # without this thread nothing is streamed any more
                log.exception("some streamed tokens come with their results only")
            self._first.wait(PERIOD)

    def stop(self) -> None:
        self._stop_now = True
        self._wanted.set()
        self.join(timeout=10)
