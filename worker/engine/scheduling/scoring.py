"""The texts of a request that are scored instead of generated: which tokens are computed next, and
the log-probabilities found so far.

One sequence computes them one after the other, each from where it begins to differ from the one
before, in the same blocks behind the prompt. They go in the order of their tokens, so texts that
begin alike are computed once as far as they are alike, and the prompt is computed once for all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from copy import copy
from itertools import pairwise

from common.errors import EngineError
from worker.engine.scheduling.drawn import Score, Scores

# Stands for the end of a text: whichever of the model's end tokens comes. Less than any token.
END = -1


class Scoring:
    """`continuations` are token ids, `prompt` is how many tokens come before them. With `ends`, the
    model's end tokens, each is scored together with its end.

    The first token behind an empty prompt has no log-probability: nothing comes before it.
    """

    def __init__(
        self, continuations: list[list[int]], prompt: int, ends: frozenset[int] = frozenset()
    ):
        self._prompt = prompt
        self._ends = sorted(ends)
        end = [END] if ends else []
        self.paths = [[*ids, *end] for ids in continuations]
        # Of each continuation's tokens, from the first on; None where nothing comes before.
        self.scores: list[list[Score | None]] = [[] if prompt else [None] for _ in self.paths]
        self._order = sorted(range(len(self.paths)), key=self.paths.__getitem__)
        in_order = [self.paths[number] for number in self._order]
        self._alike = [0, *(_common(*pair) for pair in pairwise(in_order))]  # with the one before
        self._at = 0  # in `_order`: the one that is computed

    @property
    def tokens(self) -> list[int]:
        """What is computed of the current continuation: its last token's log-probability comes from
        the tokens before."""
        return self.paths[self._order[self._at]][:-1]

    @property
    def first(self) -> int:
        """The position in the sequence of the first token whose logits are needed."""
        return self._prompt + len(self.scores[self._order[self._at]]) - 1

    def wanted(self, position: int) -> list[int]:
        """The tokens whose log-probabilities are needed from the logits at a position of the
        current continuation: of all continuations that are alike up to there."""
        followers = {
            self.paths[number][self._depth(position)] for number in self._alike_up_to(position)
        }
        tokens = sorted(followers - {END})
        return tokens + self._ends if END in followers else tokens

    def take(self, position: int, found: Scores) -> None:
        """The scores of `wanted`.

        Raises:
            EngineError: they are no numbers.
        """
        if any(map(math.isnan, found.logprobs)):
            raise EngineError("the model's logits are not finite")
        by_token = dict(zip(found.tokens, found.logprobs, strict=True))
        for number in self._alike_up_to(position):
            token = self.paths[number][self._depth(position)]
            score = (
                self._end(by_token, found)
                if token == END
                else Score(token, by_token[token], found.top)
            )
            self.scores[number].append(score)

    def go_on(self) -> int | None:
        """Turn to the next continuation that lacks log-probabilities; answers how many of the
        sequence's tokens stay, or None if there is no such continuation."""
        before = self.tokens
        for at in range(self._at, len(self._order)):
            if self._lacks(at):
                self._at = at
                return min(self.first, self._prompt + _common(before, self.tokens))
        return None

    def alike(self, computed: list[int]) -> int:
        """How many tokens of a sequence, prompt included, are those of the current continuation."""
        return self._prompt + _common(computed[self._prompt :], self.tokens)

    def branches(self) -> Iterator[Scoring]:
        """The same scores at continuations behind the current one, which may be computed together
        with it: the next token of each is found with none of the others."""
        before = self._at
        for at in range(self._at + 1, len(self._order)):
            alike = min(self._alike[before + 1 : at + 1])
            if self._lacks(at) and alike < len(self.scores[self._order[at]]):
                branch = copy(self)
                branch._at = before = at
                yield branch

    def _lacks(self, at: int) -> bool:
        number = self._order[at]
        return len(self.scores[number]) < len(self.paths[number])

    def _depth(self, position: int) -> int:
        """Which token of a continuation the logits at a position are for."""
        return position - self._prompt + 1

    def _alike_up_to(self, position: int) -> list[int]:
        """The current continuation, and those behind it that begin with the same tokens."""
        found = [self._order[self._at]]
        for at in range(self._at + 1, len(self._order)):
            if self._alike[at] < self._depth(position):
                break
            found.append(self._order[at])
        return found

    def _end(self, by_token: dict[int, float], found: Scores) -> Score:
        """Any end token ends a text, so their probabilities are added."""
        likeliest = max(self._ends, key=by_token.__getitem__)
        return Score(likeliest, log_sum([by_token[token] for token in self._ends]), found.top)


def log_sum(logprobs: list[float]) -> float:
    """The log-probability of any of several events that exclude each other."""
    most = max(logprobs)
    if most == -math.inf:
        return most
    return most + math.log(sum(math.exp(each - most) for each in logprobs))


def _common(one: list[int], other: list[int]) -> int:
    """How many leading tokens are the same."""
    return next(
        (at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
        min(len(one), len(other)),
    )
