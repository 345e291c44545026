"""Decodes the text of one continuation token by token, and cuts it at the first stop string.

A stop string may begin in one token and end in another, so text that may be the beginning of one is
not streamed until that is decided.
"""

from __future__ import annotations

from typing import Protocol

from common.generation import DecodeStream, Spelling


class Detokenizer(Protocol):
    """What an engine needs of a tokenizer: turns generated ids back into text."""

    eos_ids: frozenset[int]  # tokens that end a text

    def encode(self, text: str, special: bool = True) -> list[int]:
        """The ids of a text; with `special`, also those that the model expects around it."""
        ...

    def spell(self, token_id: int) -> Spelling:
        """A token by itself, as it reads in the middle of a text."""
        ...

    def special_id(self, text: str) -> int | None:
        """The id of the special token that is written so; such tokens never show in a text."""
        ...

    def stream(self) -> DecodeStream:
        """A fresh incremental decoder for one sequence."""
        ...


def spellings(detokenizer: Detokenizer, word: str) -> list[list[int]]:
    """A word's tokens at the start of a text and after a space."""
    return [ids for text in (word, " " + word) if (ids := detokenizer.encode(text, special=False))]


class Text:
    """The text of one continuation, which ends before the first of `stops`."""

    def __init__(self, stream: DecodeStream, stops: tuple[str, ...]):
        self._stream = stream
        self._stops = stops
        self._longest = max(map(len, stops), default=0)
        self._pieces: list[str] = []
        self._tail = ""  # decoded, but it may be the beginning of a stop string

    def push(self, token_id: int) -> tuple[str, bool]:
        """The text that is certain now, and whether a stop string ended it."""
        return self._add(self._stream.step(token_id))

    def flush(self) -> str:
        """No more tokens come: returns the text that was held back."""
        certain, _ = self._add(self._stream.rest())
        held, self._tail = self._tail, ""
        self._pieces.append(held)
        return certain + held

    def final(self) -> str:
        """The whole text, when no more tokens come."""
        self.flush()
        return "".join(self._pieces)

    def _add(self, piece: str) -> tuple[str, bool]:
        if not self._stops:
            self._pieces.append(piece)
            return piece, False
        self._tail += piece
        cuts = [(at + len(stop), at) for stop in self._stops if (at := self._tail.find(stop)) >= 0]
        if cuts:
            _, begin = min(cuts)  # the one that ends first; among those, the one that begins first
            certain, self._tail = self._tail[:begin], ""
        else:
            held = self._held()
            certain, self._tail = (
                self._tail[: len(self._tail) - held],
                self._tail[len(self._tail) - held :],
            )
        self._pieces.append(certain)
        return certain, bool(cuts)

    def _held(self) -> int:
        """The length of the longest end of the tail that is the beginning of a stop string."""
        for length in range(min(len(self._tail), self._longest - 1), 0, -1):
            end = self._tail[-length:]
            if any(stop.startswith(end) for stop in self._stops):
                return length
        return 0


class Speller:
    """Spells the tokens of one text in order. The bytes that they add, joined, are the text in
    UTF-8."""

    def __init__(self, detokenizer: Detokenizer):
        self._detokenizer = detokenizer
        self._stream = detokenizer.stream()
        self._open = False  # the text ends inside a character

    def push(self, token_id: int) -> Spelling:
        alone = self._detokenizer.spell(token_id)
        piece = self._stream.step(token_id)
        whole = not self._open and alone.raw is None
        if not piece:
            self._open = self._open or alone.added != b""
            return alone
        self._open = False
        # The first word of some texts loses the space that its token has.
        return Spelling(token_id, piece) if whole else alone
