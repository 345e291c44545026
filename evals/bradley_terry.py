"""Strengths of jobs from votes on pairs of their outputs (Bradley and Terry, 1952)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evals.arrays import Floats
from evals.intervals import FEWEST, percentiles
from evals.resampling import resampled_sums

RESAMPLES = 1000
# Votes that are added: a tie of each pair, so that winning all votes is not infinite strength.
PRIOR = "one tie per pair"
_STEPS, _LONGEST, _CLOSE = 200, 1.0, 1e-10


@dataclass(frozen=True)
class Ranking:
    """By job: log-strengths that add up to 0, each with its interval (None: fewer than 20 rows),
    and the share of its votes that it won, a tie being half a win (None: no vote).

    One job wins against another with odds of exp(difference of their strengths).
    """

    strengths: list[float]
    intervals: list[tuple[float, float] | None]
    win_rates: list[float | None]
    prior: str = PRIOR


def rank(wins: Floats, draws: np.random.Generator) -> Ranking:
    """`wins[row, i, j]`: votes on this row in which job i won against job j; a tie is half a vote
    for each. Rows, not votes, are resampled: votes on the same texts are not independent."""
    rows, jobs, _ = wins.shape
    every = wins.sum(axis=0)
    intervals: list[tuple[float, float] | None] = [None] * jobs
    if rows >= FEWEST:
        (sums,) = resampled_sums((wins.reshape(rows, jobs * jobs),), draws, RESAMPLES)
        drawn = strengths(sums.reshape(RESAMPLES, jobs, jobs))
        intervals = [percentiles(drawn[:, job], rows) for job in range(jobs)]
    won = every.sum(axis=1)
    votes = won + every.sum(axis=0)
    rates = [float(won[job] / votes[job]) if votes[job] else None for job in range(jobs)]
    return Ranking(strengths(every).tolist(), intervals, rates)


def strengths(wins: Floats) -> Floats:
    """Log-strengths of greatest likelihood, `(…, jobs)`, of wins `(…, jobs, jobs)` and the prior's
    ties. Newton's method, with steps of bounded length."""
    jobs = wins.shape[-1]
    wins = (wins + 0.5) * (1 - np.eye(jobs))
    votes = wins + np.swapaxes(wins, -1, -2)
    found = np.zeros(wins.shape[:-1])
    for _ in range(_STEPS):
        expected = 1 / (1 + np.exp(found[..., None, :] - found[..., :, None]))
        slope = (wins - votes * expected).sum(axis=-1)
        curve = votes * expected * (1 - expected)
        # The ones keep the sum at 0, on which the likelihood does not depend.
        bend = np.eye(jobs) * curve.sum(axis=-1)[..., None] - curve + 1.0
        step = np.linalg.solve(bend, slope[..., None])[..., 0]
        longest = np.abs(step).max(axis=-1, keepdims=True, initial=_LONGEST)
        step *= _LONGEST / longest
        found = found + step
        if np.abs(step).max(initial=0.0) < _CLOSE:
            break
    return found - found.mean(axis=-1, keepdims=True)
