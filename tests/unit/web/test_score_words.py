"""Scores, differences and intervals as pages show them."""

from __future__ import annotations

from typing import Any

import pytest

from web.pages.score_words import apart, interval, p_value, reach, score
from web.schemas.comparisons import ComparedMetric


def metric(better: str | None, low: float | None, high: float | None) -> ComparedMetric:
    apart: dict[str, Any] = {"value": 0.1 if low is None else (low + (high or 0)) / 2}
    apart |= {"low": low, "high": high, "p": None, "p_holm": None}
    apart |= {"wins": None, "ties": None, "losses": None}
    jobs = [
        {"job": "a", "value": 1.0, "difference": None},
        {"job": "b", "value": 1.1, "difference": apart},
    ]
    return ComparedMetric.model_validate({"metric": "m", "better": better, "n": 30, "jobs": jobs})


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (0.0, "0"),
        (1.0, "1"),
        (0.41237, "0.4124"),
        (61.774, "61.77"),
        (1234.5, "1,234"),
    ],
)
def test_scores_have_as_many_places_as_say_something(value: float | None, shown: str) -> None:
    assert score(value) == shown


@pytest.mark.parametrize(
    ("value", "beside", "shown"),
    [
        (None, None, "–"),
        (0.0, 0.4, "0"),
        (-0.000001, 0.4, "0"),
        (0.05, 0.4, "+0.0500"),
        (-0.05, 0.4, "−0.0500"),
        (-1.8416, 59.93, "−1.84"),
        (3.0, 22.0, "+3"),
    ],
)
def test_differences_have_a_sign_and_the_places_of_their_score(
    value: float | None, beside: float | None, shown: str
) -> None:
    assert apart(value, beside) == shown


def test_small_p_values_are_not_0() -> None:
    assert [p_value(value) for value in (None, 0.0001, 0.0123, 1.0)] == [
        *("–", "< 0.001", "0.012", "1.000")
    ]


@pytest.mark.parametrize(
    ("better", "low", "high", "verdict"),
    [
        ("higher", 0.1, 0.2, "better"),
        ("higher", -0.2, -0.1, "worse"),
        ("lower", 0.1, 0.2, "worse"),
        ("lower", -0.2, -0.1, "better"),
        ("higher", -0.1, 0.2, "unclear"),
        (None, 0.1, 0.2, "greater"),
        (None, -0.2, -0.1, "less"),
    ],
)
def test_an_interval_says_what_it_means(
    better: str | None, low: float, high: float, verdict: str
) -> None:
    shown = metric(better, low, high)
    found = interval(shown, shown.jobs[1].difference, reach(shown))  # type: ignore[arg-type]
    assert found is not None
    assert found.verdict == verdict
    assert found.label.endswith(verdict)
    assert 0 <= found.low <= found.value <= found.low + found.width <= 120


def test_too_few_rows_have_no_interval() -> None:
    shown = metric("higher", None, None)
    assert interval(shown, shown.jobs[1].difference, reach(shown)) is None  # type: ignore[arg-type]
