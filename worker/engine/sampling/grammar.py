"""What a continuation may write next: the tokens that its grammar allows, and thoughts before them.

One `Constraint` per continuation follows its tokens; `allowed_tokens` asks those of all rows of a
step together. Allowed tokens are bits, as llguidance writes them: token `id` is bit `id % 32` of
word `id // 32`. No tensors.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from copy import copy
from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from common.generation import ThinkingSpan

if TYPE_CHECKING:
    from common.structured.guidance import Masks, Matcher

# Seconds. What one token of a text takes is far below; a grammar whose tokens take longer again and
# again would hold up all other rows, so its row ends.
SLOW, MOST_SLOW = 0.05, 0.5
MOST_THREADS = 8  # that compute the masks of a step: more wait longer for each other than they help

# What a token is part of: the model's thoughts, a mark at their begin or end, or the answer.
Part = Literal["thought", "mark", "text"]


class Thinking:
    """Where a continuation is: before its thoughts, inside, or after them. Only its first token can
    begin them."""

    def __init__(self, span: ThinkingSpan):
        self.span = span
        self.state: Literal["before", "inside", "after"] = "inside" if span.open else "before"
        self._tokens = 0  # of its thoughts so far

    @property
    def must_end(self) -> bool:
        """Whether the next token has to end the thoughts, which are as long as they may be."""
        most = self.span.max_tokens
        return self.state == "inside" and most is not None and self._tokens >= most

    @property
    def opens_with(self) -> int | None:
        """The token that would begin the thoughts, where they may begin."""
        return self.span.start_id if self.state == "before" else None

    def push(self, token: int) -> Part:
        """`token` was generated."""
        if self.state == "before":
            self.state = "inside" if token == self.span.start_id else "after"
            return "mark" if self.state == "inside" else "text"
        if self.state == "inside" and token == self.span.end_id:
            self.state = "after"
            return "mark"
        self._tokens += self.state == "inside"
        return "thought" if self.state == "inside" else "text"


class Constraint:
    """Binds one continuation to a grammar, or its thoughts to a length, or both. The grammar binds
    what follows the thoughts; `end_ids` may not come inside these then."""

    def __init__(self, matcher: Matcher | None, span: ThinkingSpan | None, end_ids: frozenset[int]):
        self._matcher = matcher
        self._span = span
        self._thinking = Thinking(span) if span else None
        self._end_ids = sorted(end_ids)
        self.reasoning_tokens = 0  # so many were thoughts, or marks around them
        self._slow = 0.0  # seconds that slow tokens took
        self._watched = False  # one of its tokens took long

    @property
    def binds(self) -> bool:
        """Whether the next token is bound at all."""
        return self._matcher is not None or bool(self._thinking and self._thinking.must_end)

    @property
    def matcher(self) -> Matcher | None:
        """What decides about the next token; None inside thoughts."""
        return None if self._thinking and self._thinking.state == "inside" else self._matcher

    @property
    def error(self) -> str | None:
        """Why the grammar can be followed no longer: it reached a limit, or takes too long."""
        if self._matcher is None:
            return None
        return "it takes too long" if self._slow > MOST_SLOW else self._matcher.failed

    @property
    def is_over(self) -> bool:
        """Whether nothing but the end may follow."""
        return bool(self.matcher and self.matcher.is_stopped)

    def allows(self, token: int) -> bool:
        """Whether `token` may come next in a text that is not over. Changes nothing."""
        thinking = self._thinking
        if thinking and thinking.must_end:
            return token == thinking.span.end_id
        if self._matcher is None or (thinking and token == thinking.opens_with):
            return True
        if thinking and thinking.state == "inside":
            return token not in self._end_ids
        return self._matcher.allows(token)

    def push(self, token: int) -> Part:
        """`token` was generated, and it does not end the text."""
        part = self._thinking.push(token) if self._thinking else "text"
        self.reasoning_tokens += part != "text"
        if part == "text" and self._matcher:
            self._accept(self._matcher, token)
        return part

    def _accept(self, matcher: Matcher, token: int) -> None:
        """Go on by a token. To ask for the processor's time takes longer than most tokens do, so
        only after one that took long, which may have waited for what else the machine computes."""
        clock = time.thread_time if self._watched else time.monotonic
        began = clock()
        matcher.accept(token)
        seconds = clock() - began
        if self._watched:
            self.took(seconds)
        self._watched = self._watched or seconds > SLOW

    def copy(self) -> Constraint:
        """What binds another continuation that has come as far as this one."""
        matcher = self._matcher.copy() if self._matcher else None
        made = Constraint(matcher, self._span, frozenset(self._end_ids))
        made._thinking = copy(self._thinking)
        made.reasoning_tokens = self.reasoning_tokens
        return made

    def took(self, seconds: float) -> None:
        """Its grammar took so long for a token."""
        if seconds > SLOW:
            self._slow += seconds

    def follows(self, tokens: list[int]) -> bool:
        """Whether a new continuation may begin with these tokens. Changes nothing."""
        if self._matcher is None:
            return True
        trial = self.copy()
        for token in tokens:
            if token in self._end_ids or trial.is_over:
                break
            trial.push(token)
        return trial.error is None

    def adjust(self, words: np.ndarray) -> None:
        """Complete the row (words,) of allowed tokens: it has those of `matcher`, or all."""
        thinking = self._thinking
        if thinking is None:
            return
        bits = words.view(np.uint32)
        if thinking.must_end:
            bits[:] = 0
            _set(bits, thinking.span.end_id)
        elif thinking.opens_with is not None:
            _set(bits, thinking.opens_with)
        elif thinking.state == "inside":
            for token in self._end_ids:
                bits[token // 32] &= ~np.uint32(1 << token % 32)


def allowed_tokens(
    constraints: Sequence[Constraint | None], vocabulary: int
) -> tuple[list[int], np.ndarray]:
    """The rows whose next token is bound, and the tokens that each of them may take, (rows, words)
    int32. Changes no constraint, except that one whose grammar hits a limit has an `error`."""
    rows = [row for row, each in enumerate(constraints) if each and each.binds]
    words = np.full((len(rows), -(-vocabulary // 32)), -1, dtype=np.int32)
    bound = [each for each in constraints if each and each.binds]
    matchers = [(each.matcher, place) for place, each in enumerate(bound)]
    asked = [(matcher, place) for matcher, place in matchers if matcher]
    if asked:
        began = time.monotonic()
        _masks().fill(asked, words)
        if time.monotonic() - began > SLOW:
            _find_slow(bound, words)
    for each, row in zip(bound, words, strict=True):
        each.adjust(row)
    return rows, words


def _find_slow(bound: Sequence[Constraint], words: np.ndarray) -> None:
    """The masks took long together: fill each again, alone, and note those that are to blame."""
    for place, each in enumerate(bound):
        if each.matcher:
            began = time.thread_time()
            each.matcher.fill(words, place)
            each.took(time.thread_time() - began)


@cache
def _masks() -> Masks:
    """What fills the masks of this process. The library is loaded for it: where no row has a
    grammar, the engine does without."""
    from common.structured.guidance import Masks

    return Masks(min(MOST_THREADS, len(os.sched_getaffinity(0))))


def _set(bits: np.ndarray, token: int) -> None:
    bits[token // 32] |= np.uint32(1 << token % 32)
