"""ROUGE: F1 of the words, pairs of words or longest common subsequence that two texts share.

Of several references the one with the best F1 counts. On ASCII text equal to rouge-score without
stemming (Lin, 2004).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from evals.arrays import Floats
from evals.lcs import Budget, lcs_length
from evals.rows import Rows

# What the longest common subsequences of one output may cost: two seconds or so.
STEPS = 1 << 23


def measure_ngrams(order: int) -> Callable[[Rows], Floats]:
    """Of ROUGE-1 or ROUGE-2."""

    def measure(rows: Rows) -> Floats:
        ngrams = rows.word_ngrams
        matches = ngrams.shared(order).matches.astype(np.float64)
        totals = ngrams.totals(order)
        return _best(_f1(rows, matches, (totals[:, :1] + totals[:, 1:]).astype(np.float64)))

    return measure


def measure_lcs(rows: Rows) -> Floats:
    """Of ROUGE-L, over whole texts. NaN where that would take more than `STEPS`."""
    ngrams = rows.word_ngrams
    lengths = ngrams.lengths
    both = (lengths[:, :1] + lengths[:, 1:]).astype(np.float64)
    # No longer than the words in common: what cannot be the best needs no look.
    bounds = _f1(rows, ngrams.shared(1).matches.astype(np.float64), both)

    def of_row(row: int) -> float | None:
        if np.isnan(bounds[row]).all():
            return None
        output, *references = rows.words[row]
        best, budget = 0.0, Budget(STEPS)
        for at in np.argsort(-bounds[row])[: len(references)]:
            if not bounds[row, at] > best:
                break
            length = lcs_length(references[at], output, budget)
            if length is None:
                return None
            best = max(best, 2 * length / float(both[row, at]))
        return best

    return rows.numbers(of_row)


def _f1(rows: Rows, matches: Floats, both: Floats) -> Floats:
    """`both` counts the units of output and reference together. NaN where there is no reference,
    or none with a word."""
    f1 = np.divide(2 * matches, both, out=np.zeros_like(matches), where=matches > 0)
    return np.where(rows.word_ngrams.lengths[:, 1:] > 0, rows.existing(f1), np.nan)


def _best(scores: Floats) -> Floats:
    best = np.max(np.nan_to_num(scores, nan=-1.0), axis=1, initial=-1.0)
    return np.where(best < 0, np.nan, best)[:, None]
