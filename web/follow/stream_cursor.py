"""Tracks which tokens a client has received, so that each is sent once, across reconnects and
changes of worker.

A token is known by item, continuation and position. The entries that workers publish
(`job:{id}:events` in common/store/keys.py) may repeat tokens, because a call was sent again or
another worker went on from a checkpoint. After a gap a continuation sends nothing more: its result
has all of it.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from common.errors import InvalidRequest
from common.result_row import TokenLogprob
from common.store.jobs import JobStore
from web.schemas.headers import CURSOR
from web.services.watch import Watch

LATE = 1000  # items that ended last, whose tokens may still arrive


@dataclass(frozen=True, slots=True)
class Piece:
    """The next tokens of continuation `output` of an item, from position `at` on, with their
    text."""

    index: int
    output: int
    at: int
    # One a token; empty where a character or a stop string may not be complete, and for thoughts.
    texts: list[str]
    logprobs: list[TokenLogprob] | None
    reasoning: str | None  # what these tokens add to the model's thoughts; None if they add nothing

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def shown(self) -> dict[str, int | str | list[TokenLogprob]]:
        """An `ItemDelta`, as a dictionary."""
        found: dict[str, int | str | list[TokenLogprob]] = {
            "index": self.index,
            "output": self.output,
            "at": self.at,
            "tokens": len(self.texts),
            "text": self.text,
        }
        if self.logprobs is not None:
            found["logprobs"] = self.logprobs
        if self.reasoning is not None:
            found["reasoning"] = self.reasoning
        return found


class StreamCursor:
    """Where a client is in a job's stream. `finished` counts the items whose results it has.

    Raises:
        InvalidRequest: the text is no cursor.
    """

    def __init__(self, text: str = "0"):
        match = CURSOR.fullmatch(text)
        if not match:
            raise InvalidRequest(
                "Last-Event-ID must be the id of an event of this stream", field="Last-Event-ID"
            )
        self.finished = int(match[1])
        self._sent: dict[tuple[int, int], int] = {}  # (index, output) -> tokens
        self._parts: dict[tuple[int, int], str] = {}  # as `text` has them: every event carries all
        self._ended: deque[int] = deque(maxlen=LATE)
        for part in (match[2] or "").split(",") if match[2] else ():
            place, _, count = part.partition("=")
            index, _, output = place.partition(".")
            self._note(int(index), int(output), int(count))

    @property
    def text(self) -> str:
        """The id of an event: a `StreamCursor` of this text goes on here."""
        sent = ",".join(self._parts.values())
        return f"{self.finished};{sent}" if sent else str(self.finished)

    @property
    def is_streaming(self) -> bool:
        """Tokens of some item were sent, and its result was not yet."""
        return bool(self._sent)

    def sent(self, index: int, output: int) -> int:
        """How many tokens of a continuation were sent."""
        return self._sent.get((index, output), 0)

    def take(self, entries: Iterable[tuple[int, bytes]]) -> Iterator[Piece]:
        """What the client has not received yet of these entries; it counts as sent."""
        for index, entry in entries:
            if index in self._ended:
                continue
            for output, at, tokens in json.loads(entry):
                sent = self._sent.get((index, output), 0)
                if at <= sent < at + len(tokens):
                    self._note(index, output, at + len(tokens))
                    yield _piece(index, output, sent, tokens[sent - at :])

    def end(self, index: int) -> None:
        """The client has the item's result."""
        self.finished += 1
        self._ended.append(index)
        for place in [place for place in self._sent if place[0] == index]:
            del self._sent[place], self._parts[place]

    def _note(self, index: int, output: int, count: int) -> None:
        self._sent[index, output] = count
        self._parts[index, output] = f"{index}.{output}={count}"


def _piece(index: int, output: int, at: int, tokens: list[Any]) -> Piece:
    """`tokens` as `worker/token_publisher.py` writes them: a text, or a list of text, of
    log-probability, of 1 for thoughts, and of the token's id, of which clients learn nothing."""
    parts = [(token, None, 0) if isinstance(token, str) else (*token, 0)[:3] for token in tokens]
    texts = ["" if is_thought else text for text, _, is_thought in parts]
    thoughts = [text for text, _, is_thought in parts if is_thought]
    logprobs = [logprob for _, logprob, _ in parts if logprob]
    reasoning = "".join(thoughts) if thoughts else None
    return Piece(index, output, at, texts, logprobs or None, reasoning)


def new_entries(store: JobStore, job_id: str, watch: Watch) -> list[tuple[int, bytes]]:
    """Entries since the last call; all that the store has if some were missed, as at the start."""
    if watch.missed:
        watch.missed = False
        watch.take_tokens()
        return store.said(job_id)
    return watch.take_tokens()
