"""The result of a step for one sequence: the next token, and its log-probability if it was asked
for.

Plain numbers; `draw.py` and `logprobs.py` compute them from tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from common.generation import Spelling, TokenLogprob
from worker.engine.scheduling.text import Detokenizer


@dataclass(frozen=True, slots=True)
class Score:
    """The log-probability of a token, and the likeliest tokens in its place as (token id,
    log-probability)."""

    token: int
    logprob: float
    top: list[tuple[int, float]]


# Why a sequence has no next token: the model's logits are not finite, its grammar hit a limit, or
# its grammar and its edits together leave no token.
Fault = Literal["not_finite", "grammar_too_complex", "no_token_left"]


@dataclass(frozen=True, slots=True)
class Scores:
    """The log-probabilities of several tokens in one place, and the likeliest tokens there."""

    tokens: list[int]
    logprobs: list[float]
    top: list[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A sequence's next token, or why there is none; its score if it was asked for."""

    token: int | None
    score: Score | None = None
    fault: Fault | None = None


def spelled(score: Score, spelling: Spelling, detokenizer: Detokenizer) -> TokenLogprob:
    """A score as users get it. `spelling` is that of the token in its text; the alternatives are
    each spelled by themselves."""
    return TokenLogprob(
        spelling, score.logprob, [(value, detokenizer.spell(token)) for token, value in score.top]
    )
