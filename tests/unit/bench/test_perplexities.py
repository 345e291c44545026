"""Perplexity and how two measurements of the same windows of text compare."""

from __future__ import annotations

import math
import random

import pytest

from bench.lib.perplexities import Window, agreement, perplexity, ratio


def windows(count: int = 40, seed: int = 0, more: float = 0.0) -> list[Window]:
    """Windows of 4 to 9 tokens; each is less likely by `more` than it would be without."""
    rng = random.Random(seed)
    drawn = [[-5 * rng.random() for _ in range(rng.randint(4, 9))] for _ in range(count)]
    return [Window([value - more for value in each], [7] * len(each)) for each in drawn]


def test_perplexity_is_one_over_the_geometric_mean_of_the_probabilities() -> None:
    halves = [Window([math.log(0.5)] * 3, [1, 2, 3]), Window([math.log(0.5)], [1])]
    assert perplexity(halves) == pytest.approx(2)
    unequal = [Window([math.log(0.5), math.log(0.5), math.log(1 / 16)], [1, 2, 3])]
    assert perplexity(unequal) == pytest.approx(4)


def test_equal_measurements_have_the_ratio_one_and_no_interval_around_it() -> None:
    assert ratio(windows(), windows()) == {"value": 1.0, "low": 1.0, "high": 1.0}


def test_a_loss_that_is_the_same_everywhere_is_found_exactly() -> None:
    found = ratio(windows(more=0.01), windows())
    assert found["value"] == found["low"] == found["high"] == round(math.exp(0.01), 5)


def test_the_interval_contains_the_ratio_and_is_the_same_each_time() -> None:
    found = ratio(windows(), _noisy())
    assert found == ratio(windows(), _noisy())
    low, value, high = found["low"], found["value"], found["high"]
    assert low is not None and value is not None and high is not None
    assert low < value < high


def _noisy() -> list[Window]:
    rng = random.Random(1)
    return [
        Window([value + rng.gauss(0, 0.1) for value in each.logprobs], each.likeliest)
        for each in windows()
    ]


def test_the_ratio_weighs_tokens_not_windows() -> None:
    base = [Window([0.0] * 9, [1] * 9), Window([0.0], [1])]
    worse = [Window([0.0] * 9, [1] * 9), Window([-1.0], [1])]
    assert ratio(worse, base)["value"] == round(math.exp(0.1), 5)


def test_few_windows_have_no_interval() -> None:
    assert ratio(windows(19), windows(19)) == {"value": 1.0, "low": None, "high": None}
    assert ratio(windows(20), windows(20))["low"] == 1.0


def test_agreement_is_the_share_of_equal_likeliest_tokens() -> None:
    one = [Window([-1.0, -1.0, -1.0], [1, 2, 3]), Window([-1.0], [4])]
    other = [Window([-2.0, -2.0, -2.0], [1, 9, 3]), Window([-2.0], [4])]
    assert agreement(one, other) == 0.75


def test_other_windows_are_refused() -> None:
    for wrong in ([], windows(39), windows(seed=1)):
        with pytest.raises(ValueError, match="not the same windows"):
            ratio(windows(), wrong)
        with pytest.raises(ValueError, match="not the same windows"):
            agreement(windows(), wrong)
