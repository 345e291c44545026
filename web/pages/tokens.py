"""How the pages show tokens and how likely they were. Pure."""

from __future__ import annotations

import math
from typing import Any

from common.result_row import TokenLogprob

STEPS = (0.9, 0.7, 0.4, 0.1)  # probabilities at which a token's ground changes
SIGNS = {"\n": "↵", "\t": "⇥", "\r": "␍", " ": "␣"}


def likelihood(logprob: float | None) -> str:
    """A log-probability as a probability; nothing comes before a prompt's first token."""
    if logprob is None:
        return "–"
    share = 100 * math.exp(logprob)
    return f"{share:.1f} %" if share >= 0.1 or share == 0 else f"{share:.0e} %"


def likelihood_step(logprob: float | None) -> int:
    """0 for what was sure, up to 4 for what was not likely."""
    share = 1.0 if logprob is None else math.exp(logprob)
    return sum(share < step for step in STEPS)


def token_title(token: TokenLogprob) -> str:
    """A token's probability, and what else was likely."""
    others = [f"{visible(each['token'])} {likelihood(each['logprob'])}" for each in token["top"]]
    return " · ".join([likelihood(token["logprob"]), *others])


def visible(token: str) -> str:
    """White space as signs; a token may be nothing else."""
    return "".join(SIGNS.get(character, character) for character in token)


FILTERS: dict[str, Any] = {
    "likelihood": likelihood,
    "likelihood_step": likelihood_step,
    "token_title": token_title,
    "visible": visible,
}
