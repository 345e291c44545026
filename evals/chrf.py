"""chrF: how many n-grams of characters an output and its reference share, as sacrebleu counts.

A row's numbers are, for each order from 1 to 6, the n-grams of the output, of the reference, and of
both, without white space. Of several references it is the one with the best score (Popović, 2015).
"""

from __future__ import annotations

import numpy as np

from evals.arrays import Floats
from evals.bleu import SACREBLEU
from evals.rows import Rows

ORDER = 6
COLUMNS = tuple(
    f"{kind}_{order}"
    for order in range(1, ORDER + 1)
    for kind in ("output", "reference", "matches")
)
_RECALL = 4.0  # what recall counts, by precision: beta 2, squared


def measure(rows: Rows) -> Floats:
    ngrams = rows.character_ngrams()
    numbers = np.full((len(rows), ngrams.references, len(COLUMNS)), np.nan)
    for order in range(1, ORDER + 1):
        totals = ngrams.totals(order)
        theirs, place = totals[:, 1:], 3 * (order - 1)
        # An order that the reference is too short for does not count.
        numbers[:, :, place] = np.where(theirs > 0, totals[:, :1], 0)
        numbers[:, :, place + 1] = theirs
        numbers[:, :, place + 2] = ngrams.shared(order).matches
    if ngrams.references == 0:
        return np.full((len(rows), len(COLUMNS)), np.nan)
    scores = np.nan_to_num(rows.existing(score(numbers)), nan=-1.0)
    best = numbers[np.arange(len(rows)), np.argmax(scores, axis=1)]
    best[~rows.referenced] = np.nan
    return best


def score(sums: Floats) -> Floats:
    """chrF of numbers, 0 to 100: the F score, beta 2, of the mean precision and recall over the
    orders that both texts have."""
    ours, theirs, matches = sums[..., 0::3], sums[..., 1::3], sums[..., 2::3]
    counted = (ours > 0) & (theirs > 0)
    orders = np.maximum(counted.sum(axis=-1), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(counted, matches / ours, 0.0).sum(axis=-1) / orders
        recall = np.where(counted, matches / theirs, 0.0).sum(axis=-1) / orders
        found = 100 * (1 + _RECALL) * precision * recall / (_RECALL * precision + recall)
    found = np.where(precision + recall > 0, found, 0.0)
    return np.where(np.isnan(sums).any(axis=-1), np.nan, found)


def signature(references: str, tokenizer: str) -> str:
    """How the score was made, as sacrebleu writes it; `tokenizer` is BLEU's alone."""
    del tokenizer
    return f"nrefs:{references}|case:mixed|eff:yes|nc:6|nw:0|space:no|version:{SACREBLEU}"
