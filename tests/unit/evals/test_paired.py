"""Two jobs on the same items: difference, interval, p-value."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evals.arrays import Floats
from evals.paired import Difference, difference, holm
from evals.registry import METRICS
from tests.support.judged import corpus, scores

IDS = ["job_a", "job_b"]
NAMES = [name for name in METRICS if METRICS[name].needs in (None, "references")]


def numbers(name: str, seed: int, count: int = 120) -> Floats:
    return scores(corpus(seed, count), name).numbers[name]


@pytest.mark.parametrize("name", NAMES)
def test_a_job_differs_from_itself_by_nothing(name: str) -> None:
    found = numbers(name, 1)
    told = difference(METRICS[name], found, found, ["job_a", "job_a"])
    assert (told.value, told.low, told.high, told.p) == (0.0, 0.0, 0.0, 1.0)
    if METRICS[name].better:
        assert (told.wins, told.ties, told.losses) == (0, told.n, 0)


@pytest.mark.parametrize("name", NAMES)
def test_changing_the_jobs_places_changes_the_sign_and_nothing_else(name: str) -> None:
    one, other = numbers(name, 1), numbers(name, 2)
    there = difference(METRICS[name], one, other, IDS)
    back = difference(METRICS[name], other, one, IDS[::-1])
    assert there.value is not None
    assert there.low is not None
    assert there.high is not None
    assert back == Difference(
        *(there.n, -there.value, -there.high, -there.low, there.p),
        *(there.losses, there.ties, there.wins),
    )
    assert there.low <= there.value <= there.high


def test_a_shifted_copy_is_found() -> None:
    draw = np.random.default_rng(1)
    before = draw.uniform(0, 0.9, (300, 1))
    after = before + draw.normal(0.02, 0.05, (300, 1))
    found = difference(METRICS["rouge_l"], before, after, IDS)
    assert found.low is not None
    assert found.p is not None
    assert 0 < found.low < 0.02 < (found.high or 0)
    assert found.p < 0.01
    constant = difference(METRICS["rouge_l"], before, before + 0.01, IDS)
    assert constant.p == pytest.approx(1 / 10_001)
    assert constant.wins == 300


def test_jobs_that_differ_by_chance_have_small_p_values_as_often_as_they_say() -> None:
    draw, metric = np.random.default_rng(2), METRICS["rouge_l"]
    pairs = draw.normal(size=(200, 2, 60, 1))
    p_values = [difference(metric, one, other, IDS).p or 0.0 for one, other in pairs]
    assert 0.01 <= np.mean(np.array(p_values) < 0.05) <= 0.10


def test_rows_without_a_score_in_one_job_do_not_count() -> None:
    one, other = numbers("rouge_l", 1), numbers("rouge_l", 2)
    one[:30], other[20:50] = np.nan, np.nan
    told = ~np.isnan(one[:, 0] + other[:, 0])
    found = difference(METRICS["rouge_l"], one, other, IDS)
    assert found == difference(METRICS["rouge_l"], one[50:], other[50:], IDS)
    assert found.n == told.sum() < 71


def test_too_few_rows_have_a_difference_and_no_p_value() -> None:
    one, other = numbers("rouge_l", 1, 19), numbers("rouge_l", 2, 19)
    found = difference(METRICS["rouge_l"], one, other, IDS)
    assert (found.n, found.low, found.high, found.p) == (19, None, None, None)
    assert found.value == pytest.approx(float(other.mean() - one.mean()))
    assert difference(METRICS["rouge_l"], one[:0], other[:0], IDS) == Difference(0, None)


def test_wins_follow_the_better_direction() -> None:
    before, after = np.full((30, 1), 0.5), np.full((30, 1), 0.25)
    less = difference(METRICS["repetition"], before, after, IDS)
    assert (less.wins, less.losses, less.value) == (30, 0, -0.25)
    assert difference(METRICS["rouge_l"], before, after, IDS).losses == 30
    none = difference(METRICS["length_chars"], before, after, IDS)
    assert (none.wins, none.ties, none.losses) == (None, None, None)


def test_the_seed_is_of_the_jobs_and_the_metric() -> None:
    one, other = numbers("rouge_l", 1), numbers("rouge_l", 2)
    found = difference(METRICS["rouge_l"], one, other, IDS)
    assert found == difference(METRICS["rouge_l"], one, other, IDS[::-1])
    assert found != difference(METRICS["rouge_l"], one, other, ["job_a", "job_c"])
    renamed = replace(METRICS["rouge_l"], name="rouge_9")
    assert found != difference(renamed, one, other, IDS)


def test_holm_corrects_p_values_in_their_order() -> None:
    told = {"a": 0.01, "b": 0.04, "c": 0.03, "d": None, "e": 0.005}
    assert holm(told) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": None, "e": 0.02})
    assert holm({"a": 0.6, "b": 0.9}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}
