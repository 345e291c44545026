"""Votes on pairs of outputs: of people, and of a judge that is asked in both orders."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from evals.arrays import Floats

Side = Literal["left", "right", "tie"]


@dataclass(frozen=True, slots=True)
class Vote:
    """On one row, which side was better; `left` and `right` are the jobs' places in the study. A
    rater who skips a row has no vote on it."""

    row: int
    left: int
    right: int
    better: Side


def wins(votes: Iterable[Vote], rows: int, jobs: int) -> Floats:
    """What `bradley_terry.rank` takes: `[row, i, j]` counts votes for job i against job j. A tie is
    half a vote for each."""
    counted = np.zeros((rows, jobs, jobs))
    for vote in votes:
        if vote.left == vote.right:
            raise ValueError(f"a vote compares job {vote.left} with itself")
        left = {"left": 1.0, "tie": 0.5, "right": 0.0}[vote.better]
        counted[vote.row, vote.left, vote.right] += left
        counted[vote.row, vote.right, vote.left] += 1.0 - left
    return counted


def both_orders(first: Side, second: Side) -> Side:
    """The verdict on a pair that was judged twice, the second time with its sides changed.

    `left` and `right` are those of the first time. A verdict that changes with the order is a tie:
    a judge that always prefers one side decides nothing.
    """
    changed: dict[Side, Side] = {"left": "right", "right": "left", "tie": "tie"}
    return first if changed[second] == first else "tie"
