"""BLEU: how many of an output's n-grams of words are in its references, as sacrebleu counts.

A row's numbers are the output's length, the length of the reference closest to it, the n-grams of
orders 1 to 4 that are in a reference as well, and all of them. Sums of these over a job give the
score of the job, with exponential smoothing (Papineni and others, 2002; Post, 2018).
"""

from __future__ import annotations

import numpy as np

from evals.arrays import Floats
from evals.rows import Rows

ORDER = 4
COLUMNS = (
    *("length", "reference_length", "matches_1", "matches_2", "matches_3", "matches_4"),
    *("total_1", "total_2", "total_3", "total_4"),
)
# The version of sacrebleu whose scores these are; a test compares.
SACREBLEU = "2.6.0"


def measure(rows: Rows) -> Floats:
    ngrams = rows.bleu_ngrams()
    lengths = ngrams.lengths.astype(np.float64)
    numbers = np.empty((len(rows), len(COLUMNS)))
    numbers[:, 0] = lengths[:, 0]
    numbers[:, 1] = _closest(lengths[:, 0], rows.existing(lengths[:, 1:]))
    for order in range(1, ORDER + 1):
        numbers[:, 1 + order] = ngrams.shared(order).clipped
        numbers[:, 1 + ORDER + order] = ngrams.totals(order)[:, 0]
    numbers[~rows.referenced] = np.nan
    return numbers


def _closest(length: Floats, references: Floats) -> Floats:
    """The length of the reference that is closest in length; of two the shorter."""
    if references.shape[1] == 0:
        return np.zeros(len(length))
    ordered = np.sort(references, axis=1)  # NaN, where there is no reference, comes last
    away = np.abs(ordered - length[:, None])
    nearest = np.argmin(np.where(np.isnan(away), np.inf, away), axis=1)
    return ordered[np.arange(len(length)), nearest]


def score(sums: Floats) -> Floats:
    """BLEU of summed numbers, 0 to 100."""
    return _score(sums, np.full(sums.shape[:-1], float(ORDER)))


def score_alone(numbers: Floats) -> Floats:
    """BLEU of single outputs: only orders that the output is long enough for (effective order)."""
    totals = numbers[..., 2 + ORDER :]
    return _score(numbers, np.maximum((totals > 0).sum(axis=-1), 1).astype(np.float64))


def _score(sums: Floats, orders: Floats) -> Floats:
    length, reference_length = sums[..., 0], sums[..., 1]
    matches, totals = sums[..., 2 : 2 + ORDER], sums[..., 2 + ORDER :]
    with np.errstate(divide="ignore", invalid="ignore"):
        short = np.exp(1 - reference_length / length)
        penalty = np.where(length < reference_length, np.where(length > 0, short, 0.0), 1.0)
        # An order without a match counts as half a match, the next such one as a quarter, …
        halvings = np.cumsum((matches == 0) & (totals > 0), axis=-1)
        smoothed = np.where(matches == 0, 0.5**halvings, matches)
        logs = np.log(100 * smoothed / totals)
        wanted = np.arange(ORDER) < orders[..., None]
        found = penalty * np.exp(np.where(wanted, logs, 0.0).sum(axis=-1) / orders)
    # Too short a corpus for an order has no such n-gram, which is a precision of 0.
    enough = ((totals > 0) | ~wanted).all(axis=-1) & (matches > 0).any(axis=-1)
    found = np.where(enough, found, 0.0)
    return np.where(np.isnan(sums).any(axis=-1), np.nan, found)


def signature(references: str, tokenizer: str) -> str:
    """How the score was made, as sacrebleu writes it; `references` is their number, or `var`."""
    return f"nrefs:{references}|case:mixed|eff:no|tok:{tokenizer}|smooth:exp|version:{SACREBLEU}"
