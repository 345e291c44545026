"""How the pages show tokens and texts, and how likely they were. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from common.result_row import RowContinuation, TokenLogprob

STEPS = (0.9, 0.7, 0.4, 0.1)  # probabilities at which a token's ground changes
SIGNS = {"\n": "↵", "\t": "⇥", "\r": "␍", " ": "␣"}


def likelihood(logprob: float | None) -> str:
    """A log-probability as a probability; nothing comes before a prompt's first token."""
    if logprob is None:
        return "–"
    return share(math.exp(logprob))


def share(probability: float) -> str:
    """A probability in percent; of a very small one its size."""
    whole = 100 * probability
    return f"{whole:.1f} %" if whole >= 0.1 or whole == 0 else f"{whole:.1g} %"


def likeliest(scored: Sequence[RowContinuation] | None) -> RowContinuation | None:
    """The likeliest of an item's continuations; None before they are scored."""
    known = [each for each in scored or () if "probability" in each]
    return max(known, key=lambda each: each["probability"], default=None)


def likelihood_step(logprob: float | None) -> int:
    """0 for what was sure, up to 4 for what was not likely."""
    sure = 1.0 if logprob is None else math.exp(logprob)
    return sum(sure < step for step in STEPS)


def token_title(token: TokenLogprob) -> str:
    """A token's probability, and what else was likely."""
    others = [f"{visible(each['token'])} {likelihood(each['logprob'])}" for each in token["top"]]
    return " · ".join([likelihood(token["logprob"]), *others])


def visible(token: str) -> str:
    """White space as signs; a token may be nothing else."""
    return "".join(SIGNS.get(character, character) for character in token)


FILTERS: dict[str, Any] = {
    "likelihood": likelihood,
    "share": share,
    "likeliest": likeliest,
    "likelihood_step": likelihood_step,
    "token_title": token_title,
    "visible": visible,
}
