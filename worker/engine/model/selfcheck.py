"""Compares what a faster way of computing gives with what is known to be right, before it is used.

Compared so: packed rows with separate ones (`packable.py`); packed weights, the lean forward pass
and the paged attention kernel (`compose.py`); rows in one batch of `generate()` (`padding.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch

log = logging.getLogger(__name__)

# The largest difference that rounding explains in one operation's 16-bit outputs of size 1.
ONE_OPERATION = 2e-2


def tolerance(model: Any) -> float:
    """The largest `difference` that rounding explains."""
    return 1e-3 if model.dtype == torch.float32 else 0.1


def difference(expected: list[torch.Tensor], found: list[torch.Tensor]) -> float:
    """The worst row's relative difference of logits; each row is (tokens, vocabulary).

    A leak between rows shows in every token, while rounding in bfloat16 may flip an expert's choice
    in a few: so a row's difference is the median of its tokens'.
    """
    medians = []
    for one, other in zip(expected, found, strict=True):
        spread = (one - one.mean(-1, keepdim=True)).norm(dim=-1)
        medians.append(((other - one).norm(dim=-1) / spread).median())
    return torch.stack(medians).max().item()  # which keeps a NaN; Python's own `max` may drop it


def objection(measure: Callable[[], float], limit: float) -> str | None:
    """Why the thing that `measure` measures cannot be trusted; None if its difference is below
    `limit`. One that cannot be measured is not trusted either."""
    try:
        found = measure()
    except Exception as error:  # whatever it does, there is another way to compute
        return f"{type(error).__name__}: {error}"
    return None if found < limit else f"difference {found:.1e}"  # NaN is not below


def trusted(what: str, instead: str, measure: Callable[[], float], limit: float) -> bool:
    """Whether `what` may be used, by `objection`; if not, the log says why and what the model does
    `instead`."""
    reason = objection(measure, limit)
    if reason:
        log.warning("%s: wrong for this model (%s), so it %s", what, reason, instead)
    return reason is None
