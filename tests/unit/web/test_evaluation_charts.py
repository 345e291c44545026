"""Laws of what is drawn of a metric: bars, intervals and the scores that they stand for."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import numpy as np
import pytest

from evals.registry import METRICS
from evals.summary import histogram
from web.jobs.score_view import ScoreChoice, ScoreView
from web.pages.evaluation_charts import HEIGHT, metric_view, score_text


def summary_of(name: str, scores: Any, **more: Any) -> dict[str, Any]:
    metric = METRICS[name]
    found = {"n": len(scores), "nulls": 0, "failed_items": 0, "coverage": 1.0, "value": None}
    found |= {"low": None, "high": None, "mean": None, "quartiles": None}
    return {**found, "histogram": histogram(metric, scores), **more}


@pytest.mark.parametrize("name", ["rouge_l", "bleu", "length_tokens", "exact_match"])
def test_the_bars_together_lead_to_every_item_once(name: str) -> None:
    metric, draws = METRICS[name], np.random.default_rng(4)
    scores = draws.integers(0, 21, 500) / 20 * (metric.high or 300)
    view = metric_view(metric, summary_of(name, scores))
    found: list[int] = []
    for bin in view.bins:
        query = parse_qs(bin.query[1:])
        assert query["metric"] == [name]
        limits: Any = {key: float(query[key][0]) for key in ("least", "below") if key in query}
        inside = np.flatnonzero(ScoreView(scores, ScoreChoice(name, **limits)).inside)
        assert len(inside) == bin.count
        found += inside.tolist()
    assert sorted(found) == list(range(500))


def test_bars_are_as_high_as_their_counts_and_none_that_counts_is_too_low_to_see() -> None:
    scores = np.array([0.01] * 999 + [0.99])
    bins = metric_view(METRICS["rouge_l"], summary_of("rouge_l", scores)).bins
    assert bins[0].height == HEIGHT and bins[-1].height == 1.5
    assert all(bin.height == 0 for bin in bins[1:-1])
    assert all(bin.y + bin.height == HEIGHT for bin in bins)


def test_the_interval_is_drawn_where_it_is_on_the_line_of_the_metrics_limits() -> None:
    about = summary_of("bleu", np.array([20.0, 60.0]), value=40.0, low=25.0, high=55.0)
    span = metric_view(METRICS["bleu"], about).span
    assert span and (span.start, span.width, span.value) == (25.0, 30.0, 40.0)


def test_without_an_interval_or_scores_nothing_is_claimed() -> None:
    few = metric_view(METRICS["bleu"], summary_of("bleu", np.array([20.0]), value=20.0))
    assert few.interval == "no interval: fewer than 20 items" and few.span and not few.span.width
    none = metric_view(METRICS["perplexity"], summary_of("perplexity", np.array([]), nulls=3))
    assert (none.value, none.interval, none.span, list(none.bins)) == ("–", "", None, [])
    assert none.counted == "0 scored · 3 without a score"
    bare = metric_view(METRICS["chrf"], summary_of("chrf", np.array([]), nulls=0, failed_items=0))
    assert bare.counted == "no item has a reference"


def test_scores_have_the_digits_that_make_sense_of_them() -> None:
    texts = [
        score_text(score, METRICS[name])
        for name, score in (
            ("rouge_l", 0.41234),
            ("bleu", 31.456),
            ("length_tokens", 1234.5),
            ("perplexity", 3.14159),
            ("rouge_l", None),
        )
    ]
    assert texts == ["0.412", "31.46", "1,234", "3.14", "–"]
