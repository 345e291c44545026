"""Which tokens of streamed items a reader has had: what makes every token told once, whoever
generated it.

A token is known by item, continuation and position. Entries (`job:{id}:events` in
common/store/keys.py) may repeat tokens, because a call was sent again or another worker went on
from a checkpoint. After a gap a continuation says nothing more; its result has all of it.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from common.errors import InvalidRequest
from common.store.jobs import JobStore
from web.schemas.headers import CURSOR
from web.services.watch import Watch

LATE = 1000  # items that ended last, whose tokens may still be under way


@dataclass(frozen=True, slots=True)
class Piece:
    """What continuation `output` of an item says next: tokens from position `at` on, and their
    text."""

    index: int
    output: int
    at: int
    texts: list[str]  # one a token; empty where a character or a stop string may not be complete
    logprobs: list[dict[str, Any]] | None

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def shown(self) -> dict[str, Any]:
        found = {
            "index": self.index,
            "output": self.output,
            "at": self.at,
            "tokens": len(self.texts),
            "text": self.text,
        }
        return found | ({"logprobs": self.logprobs} if self.logprobs is not None else {})


class Told:
    """`finished` counts the items whose results the reader has."""

    def __init__(self, cursor: str = "0"):
        match = CURSOR.fullmatch(cursor)
        if not match:
            raise InvalidRequest(
                "Last-Event-ID must be the id of an event of this stream", field="Last-Event-ID"
            )
        self.finished = int(match[1])
        self._had: dict[tuple[int, int], int] = {}
        self._over: deque[int] = deque(maxlen=LATE)
        for part in (match[2] or "").split(",") if match[2] else ():
            place, _, count = part.partition("=")
            index, _, output = place.partition(".")
            self._had[int(index), int(output)] = int(count)

    @property
    def cursor(self) -> str:
        """What `Told` takes to go on here."""
        had = ",".join(f"{index}.{output}={count}" for (index, output), count in self._had.items())
        return f"{self.finished};{had}" if had else str(self.finished)

    @property
    def streams(self) -> bool:
        """Some item is being told right now."""
        return bool(self._had)

    def had(self, index: int, output: int) -> int:
        """Tokens of a continuation that were told."""
        return self._had.get((index, output), 0)

    def take(self, entries: Iterable[tuple[int, bytes]]) -> Iterator[Piece]:
        """What is new in these."""
        for index, entry in entries:
            if index in self._over:
                continue
            for output, at, tokens in json.loads(entry):
                had = self._had.get((index, output), 0)
                if at <= had < at + len(tokens):
                    self._had[index, output] = at + len(tokens)
                    yield _piece(index, output, had, tokens[had - at :])

    def end(self, index: int) -> None:
        """The reader has the item's result."""
        self.finished += 1
        self._over.append(index)
        for place in [place for place in self._had if place[0] == index]:
            del self._had[place]


def _piece(index: int, output: int, at: int, tokens: list[Any]) -> Piece:
    if isinstance(tokens[0], str):
        return Piece(index, output, at, tokens, None)
    return Piece(
        index, output, at, [text for text, _ in tokens], [logprob for _, logprob in tokens]
    )


def heard(store: JobStore, job_id: str, watch: Watch) -> list[tuple[int, bytes]]:
    """Entries since the last call; all that the store has if some were missed, as at the start."""
    if watch.missed:
        watch.missed = False
        watch.take_tokens()
        return store.said(job_id)
    return watch.take_tokens()
