"""Publishes the tokens of streamed items while they are generated.

Tokens come from the engine's thread and are sent to the store in batches: the first token of an
item at once, later ones a few times a second. Each token has its position, so that clients drop
those that come twice, from this worker or from the next one. Tokens that are never published are in
the item's result.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from common.errors import Unavailable
from common.generation import NewToken, Request
from common.store.incarnation import Incarnation
from worker.held_items import HeldItem
from worker.results import row_logprob

log = logging.getLogger(__name__)

# Seconds between two batches: a reader sees a steady text, and the store has few writes.
PERIOD = 0.025
ID = 3  # where a token that is a list has its id
LOOK_AGAIN = 1.0  # seconds the thread waits for tokens before it looks whether to stop

# `json.dumps` makes a new encoder for each call with options, which takes longer than a few tokens.
_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(slots=True)
class _Stream:
    """One item: for each of its continuations how many tokens were sent, and those to be sent."""

    item: HeldItem
    sent: list[int]
    waiting: list[list[Any]] = field(default_factory=list)

    def take(self) -> str | None:
        """The waiting tokens as an entry of the store's event list; None if there are none."""
        parts = []
        for sequence, tokens in enumerate(self.waiting):
            if tokens:
                parts.append([sequence, self.sent[sequence], tokens])
                self.sent[sequence] += len(tokens)
                self.waiting[sequence] = []
        return _to_json(parts) if parts else None


def _entry(token: NewToken, with_id: bool) -> Any:
    """A token as `job:{id}:events` has it: its text, or a list of its text, its log-probability or
    null, 1 if it is part of the model's thoughts, else 0, and its id."""
    logprob = token.logprob and row_logprob(token.logprob)
    if with_id:
        return [token.text, logprob, int(token.reasoning), token.token]
    if token.reasoning:
        return [token.text, logprob, 1]
    return [token.text, logprob] if logprob else token.text


def said_tokens(entries: Iterable[bytes]) -> list[list[int]]:
    """The token ids that entries of an item have for each continuation, up to the first gap, or
    token without an id. Of tokens that came twice, the first are what clients have."""
    found: list[list[int]] = []
    for sequence, at, tokens in (part for entry in entries for part in json.loads(entry)):
        found.extend([] for _ in range(len(found), sequence + 1))
        had = found[sequence]
        for place, token in enumerate(tokens, at):
            if place == len(had) and isinstance(token, list) and len(token) > ID:
                had.append(token[ID])
    return found


class TokenPublisher(threading.Thread):
    """Publishes for one worker. The turn calls `follow` and `forget`."""

    def __init__(self) -> None:
        super().__init__(name="token-publisher", daemon=True)
        self._incarnation: Incarnation | None = None
        self._streams: dict[str, _Stream] = {}  # by request id
        self._new: set[str] = set()  # requests with tokens to be sent
        self._lock = threading.Lock()
        # Held while a batch is sent: `flush` returns only when earlier tokens were sent, too.
        self._flushing = threading.Lock()
        self._wanted = threading.Event()
        self._first = threading.Event()  # the first token of an item came: do not wait
        self._stop_now = False

    def use(self, incarnation: Incarnation) -> None:
        """Publish under this incarnation, and drop the tokens of the one before."""
        with self._lock:
            self._incarnation = incarnation
            self._streams.clear()
            self._new.clear()

    def follow(self, item: HeldItem, request: Request, *, with_ids: bool = False) -> None:
        """Publish this request's tokens, from the end of its checkpoint on; `with_ids` so that
        another worker can go on behind them."""
        sent = [len(tokens) for tokens in request.resume or []]
        sent += [0] * (request.params.n - len(sent))
        with self._lock:
            self._streams[request.id] = _Stream(item, sent, [[] for _ in sent])

        def on_token(token: NewToken) -> None:
            self._add(request.id, token.sequence, _entry(token, with_ids))

        request.on_token = on_token

    def forget(self, request_id: str) -> None:
        """Publish no more of this request: the rest is in its result."""
        with self._lock:
            self._streams.pop(request_id, None)
            self._new.discard(request_id)

    def flush(self) -> None:
        """Send the tokens that wait.

        Raises:
            Unavailable: the server cannot be reached; these tokens come with the results only.
        """
        with self._flushing:
            with self._lock:
                incarnation = self._incarnation
                streams = [self._streams[request_id] for request_id in self._new]
                taken = [(stream.item, stream.take()) for stream in streams]
                self._new.clear()
            entries = [
                (item.job_id, item.index, item.attempt, entry) for item, entry in taken if entry
            ]
            if entries and incarnation:
                incarnation.stream(entries)

    def _add(self, request_id: str, sequence: int, token: Any) -> None:
        with self._lock:
            if stream := self._streams.get(request_id):
                if not stream.sent[sequence] and not stream.waiting[sequence]:
                    self._first.set()
                stream.waiting[sequence].append(token)
                self._new.add(request_id)
        self._wanted.set()

    def run(self) -> None:
        while not self._stop_now:
            if not self._wanted.wait(LOOK_AGAIN):
                continue
            self._wanted.clear()
            self._first.clear()
            try:
                self.flush()
            except Unavailable as error:
                log.warning("some streamed tokens come with their results only: %s", error)
            except Exception:  # if this thread ended, nothing would be streamed any more
                log.exception("some streamed tokens come with their results only")
            self._first.wait(PERIOD)

    def stop(self) -> None:
        self._stop_now = True
        self._wanted.set()
        self.join(timeout=10)
