"""Scores of items become a summary: counts, value, interval, quartiles, histogram."""

from __future__ import annotations

import math

import numpy as np
import pytest

from evals.intervals import wilson
from evals.item import Item, Output
from evals.registry import METRICS
from evals.scorer import score_items
from evals.summary import Tally
from tests.support.judged import corpus, item, scores, tally

FAILED = Item((), ("a",))


def test_counts_tell_scored_null_and_failed_items_apart() -> None:
    items = [
        item("x", "x"),
        item("y", "x"),
        item("", "x"),  # an empty output is 0
        item("x", ""),  # an empty reference is null
        item("x"),  # no reference: nothing to compare, nothing missing
        FAILED,
    ]
    found = tally(items, "exact_match", "length_chars").summary("exact_match", "eval_1")
    assert (found["n"], found["nulls"], found["failed_items"]) == (3, 1, 1)
    assert found["coverage"] == 3 / 5
    assert found["value"] == found["mean"] == pytest.approx(1 / 3)
    assert found["quartiles"] == [0, 0, 0.5]
    assert found["histogram"] is not None
    assert (found["histogram"]["counts"][0], found["histogram"]["counts"][-1]) == (2, 1)
    assert found["low"] is None
    assert found["high"] is None


def test_metrics_without_references_cover_all_items() -> None:
    found = tally([item("ab"), item("", "a"), FAILED], "length_chars")
    summary = found.summary("length_chars", "eval_1")
    assert (summary["n"], summary["nulls"], summary["failed_items"]) == (2, 0, 1)
    assert summary["coverage"] == 2 / 3


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("items", [[], [FAILED], [item("a")], [item("a", " ")]])
def test_nothing_to_score_is_null_and_never_zero(name: str, items: list[Item]) -> None:
    summary = tally(items, name).summary(name, "eval_1")
    if summary["n"] == 0:
        told = ("value", "low", "high", "mean", "quartiles", "histogram")
        assert [summary[key] for key in told] == [None] * len(told)  # type: ignore[literal-required]
    assert summary["n"] + summary["nulls"] + summary["failed_items"] <= len(items)


@pytest.mark.parametrize("name", METRICS)
def test_scores_are_within_the_limits_that_the_registry_names(name: str) -> None:
    items = [*corpus(3, 60, references=3), item("x" * 50, "x" * 50), item("中 1", "中 1")]
    metric = METRICS[name]
    values = scores(items, name).values[name]
    values = values[~np.isnan(values)]
    assert metric.low is None or (values >= metric.low).all()
    assert metric.high is None or (values <= metric.high + 1e-9).all()
    assert len(values) or metric.needs in ("token_counts", "logprobs")


def test_an_item_with_several_outputs_has_the_mean_of_its_scores() -> None:
    outputs = (Output("a b c d", 4, -1.0), Output("x", 2), Output("", 0))
    several = Item(outputs, ("a b c d",))
    for name in ("bleu", "rouge_l", "exact_match", "length_tokens"):
        alone = [scores([Item((o,), several.references)], name).values[name][0] for o in outputs]
        found = scores([several], name)
        assert found.values[name][0] == pytest.approx(np.mean(alone)), name
    # Null of some outputs: the mean of the others.
    assert scores([several], "perplexity").values["perplexity"][0] == pytest.approx(math.exp(1 / 4))


def test_chunks_added_twice_or_out_of_order_give_the_same_summary() -> None:
    items, names = corpus(5, 130, references=2), ["bleu", "chrf", "rouge_l", "exact_match"]
    metrics = [METRICS[name] for name in names]
    other = Tally(metrics, len(items))
    for first in (64, 0, 64, 128, 0):
        part = items[first : first + 64]
        other.add(first, part, score_items(part, metrics, "13a"))
    whole = tally(items, *names)
    for name in names:
        assert other.summary(name, "eval_1") == whole.summary(name, "eval_1")
        assert other.signature(name, "13a") == whole.signature(name, "13a")


def test_the_interval_depends_on_the_evaluation_and_nothing_else() -> None:
    found = tally(corpus(7, 100), "rouge_l", "bleu")
    alone = tally(corpus(7, 100), "rouge_l")
    first = found.summary("rouge_l", "eval_1")
    assert first == alone.summary("rouge_l", "eval_1")
    assert first["low"] != alone.summary("rouge_l", "eval_2")["low"]
    assert first["low"] < first["value"] < first["high"]  # type: ignore[operator]


def test_shares_have_wilsons_interval_unless_outputs_are_averaged() -> None:
    ones = [item("a", "a")] * 19 + [item("b", "a")]
    found = tally(ones, "exact_match").summary("exact_match", "eval_1")
    assert (found["low"], found["high"]) == wilson(19, 20)
    halves = [Item((Output("a"), Output("b")), ("a",))] * 20
    found = tally(halves, "exact_match").summary("exact_match", "eval_1")
    assert (found["low"], found["value"], found["high"]) == (0.5, 0.5, 0.5)


def test_fewer_than_twenty_items_have_no_interval() -> None:
    for name in ("rouge_l", "exact_match"):
        found = tally([item("a", "a")] * 19, name).summary(name, "eval_1")
        assert (found["low"], found["value"], found["high"]) == (None, 1.0, None)


@pytest.mark.parametrize(
    ("successes", "count", "low", "high"),
    [
        (0, 20, 0.0, 0.1611),
        (10, 20, 0.2993, 0.7007),
        (81, 263, 0.2553, 0.3662),
        (20, 20, 0.8389, 1),
    ],
)
def test_wilsons_interval_is_that_of_textbooks(
    successes: int, count: int, low: float, high: float
) -> None:
    assert wilson(successes, count) == pytest.approx((low, high), abs=1e-4)


def test_more_items_than_groups_have_intervals_as_wide_as_they_should_be() -> None:
    draw = np.random.default_rng(1)
    numbers = draw.normal(size=(30_000, 1))
    made = Tally([METRICS["length_chars"]], len(numbers))
    made._numbers["length_chars"][:] = numbers
    made._values["length_chars"][:] = numbers[:, 0]
    found = made.summary("length_chars", "eval_1")
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 / math.sqrt(30_000), rel=0.08)  # type: ignore[operator]
