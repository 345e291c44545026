"""Intervals hold the true value as often as they say: 95 of 100 times."""

from __future__ import annotations

import numpy as np
import pytest

from evals.arrays import Floats
from evals.intervals import FEWEST, RESAMPLES, interval, percentiles, wilson
from evals.registry import METRICS
from evals.resampling import resampled_sums
from evals.seeds import generator
from tests.support.judged import corpus, tally

TRIALS, COUNT = 2000, 300
POPULATION = 20_000
LEAST, MOST = 0.925, 0.97


@pytest.mark.timeout(400)
def test_means_and_corpus_bleu_are_covered() -> None:
    """All three with the same draws, as `interval` computes each of them."""
    draws = generator("population")
    numbers = tally(corpus(11, POPULATION, most=25), "bleu").numbers("bleu")
    normal, skewed = draws.normal(size=POPULATION), draws.lognormal(sigma=0.5, size=POPULATION)
    means = np.column_stack((normal, skewed))
    population = np.column_stack((means, numbers))
    true = scored(population.sum(axis=0), POPULATION)
    hits = np.zeros(3)
    for trial in range(TRIALS):
        sample = population[draws.integers(0, POPULATION, COUNT)]
        (sums,) = resampled_sums((sample,), generator(f"eval_{trial}"), RESAMPLES)
        for at, found in enumerate(scored(sums, COUNT)):
            low, high = percentiles(found, COUNT) or (1.0, 0.0)
            hits[at] += low <= true[at] <= high
    assert (hits / TRIALS >= LEAST).all(), hits / TRIALS
    assert (hits / TRIALS <= MOST).all(), hits / TRIALS


def scored(sums: Floats, count: int) -> list[Floats]:
    """Normal mean, lognormal mean, BLEU."""
    mean, bleu = METRICS["rouge_l"], METRICS["bleu"]
    return [
        *(mean.total(sums[..., at : at + 1], float(count)) for at in range(2)),
        bleu.total(sums[..., 2:], float(count)),
    ]


def test_an_interval_is_the_middle_of_what_is_resampled() -> None:
    sample = generator("sample").lognormal(size=(COUNT, 1))
    (sums,) = resampled_sums(
        (np.column_stack((sample, np.ones(COUNT))),), generator("a"), RESAMPLES
    )
    found = interval(METRICS["rouge_l"], sample, generator("a"))
    assert found == percentiles(sums[:, 0] / COUNT, COUNT)


def test_rare_successes_are_covered() -> None:
    successes = generator("rare").binomial(COUNT, 0.05, TRIALS)
    between = np.array([wilson(int(each), COUNT) for each in successes])
    share = ((between[:, 0] <= 0.05) & (between[:, 1] >= 0.05)).mean()
    assert LEAST <= share <= MOST


def test_of_the_fewest_items_intervals_are_wider_than_resamples_are() -> None:
    draws, hits = generator("few"), 0
    for trial in range(TRIALS):
        sample = draws.normal(size=(FEWEST, 1))
        low, high = interval(METRICS["rouge_l"], sample, generator(str(trial))) or (1.0, 0.0)
        hits += low <= 0 <= high
    assert LEAST <= hits / TRIALS <= MOST
