"""What a step found for a sequence: the next token, and its log-probability where it was asked for.

Plain numbers; `draw.py` and `logprobs.py` make them of tensors.
"""

from __future__ import annotations

from dataclasses import dataclass

from common.generation import Spelling, TokenLogprob
from worker.engine.scheduling.text import Detokenizer


@dataclass(frozen=True, slots=True)
class Score:
    """How likely the model found a token, and its likeliest alternatives as (token id,
    log-probability)."""

    token: int
    logprob: float
    top: list[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A sequence's next token, None where the model's logits are not finite; its score where it was
    asked for."""

    token: int | None
    score: Score | None = None


def spelled(score: Score, spelling: Spelling, detokenizer: Detokenizer) -> TokenLogprob:
    """A score as it is told: `spelling` is the token's in its text, the alternatives are spelled
    each by itself."""
    return TokenLogprob(
        spelling, score.logprob, [(value, detokenizer.spell(token)) for token, value in score.top]
    )
