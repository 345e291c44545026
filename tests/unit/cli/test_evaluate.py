"""The table of scores that `promptmill evaluate` prints."""

from __future__ import annotations

from typing import Any

from cli.evaluate import _unscored, table


def summary(**found: Any) -> dict[str, Any]:
    return {"n": 0, "nulls": 0, "value": None, "low": None, "high": None} | found


def test_scores_stand_in_columns_and_what_is_not_there_is_a_dash() -> None:
    scores = {
        "bleu": summary(n=500, value=27.34567, low=25.1, high=29.80001),
        "length_tokens": summary(n=19, nulls=3, value=1234.5),
        "chrf": summary(nulls=7),
    }
    assert list(table({"summary": scores})) == [
        "metric         value   low–high    n  nulls",
        "bleu           27.35  25.1–29.8  500      0",
        "length_tokens   1234          –   19      3",
        "chrf               –          –    0      7",
    ]


def test_without_metrics_there_is_only_the_head() -> None:
    assert list(table({"summary": {}})) == ["metric  value  low–high  n  nulls"]


def test_metrics_beside_references_that_no_item_has_say_what_to_do() -> None:
    scores = {
        "chrf": summary(failed_items=0),
        "rouge_l": summary(failed_items=0),
        "perplexity": summary(nulls=3, failed_items=0),
        "length_chars": summary(n=3, failed_items=0),
    }
    (said,) = _unscored({"summary": scores, "progress": {"total": 3}})
    assert said.startswith("chrf, rouge_l: no item has a reference; give them by --references FILE")
    failed = {"summary": {"chrf": summary(failed_items=2)}, "progress": {"total": 2}}
    empty = {"summary": {"length_chars": summary(failed_items=0)}, "progress": {"total": 0}}
    assert [*_unscored(failed), *_unscored(empty)] == []
