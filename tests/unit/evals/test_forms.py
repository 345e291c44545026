"""Metrics of an output by itself: lengths, JSON, variety, perplexity."""

from __future__ import annotations

import math

import pytest

from evals.item import Item, Output
from tests.support.judged import score, scores, tally

NAN = pytest.approx(math.nan, nan_ok=True)


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ('{"a": [1, 2.5, null]}', 1.0),
        (' "x"\n', 1.0),
        ("7", 1.0),
        ("", 0.0),
        ("{'a': 1}", 0.0),
        ('{"a": 1} and more', 0.0),
        ('```json\n{"a": 1}\n```', 0.0),
        ("NaN", 0.0),
        ("[Infinity]", 0.0),
        ("9" * 100_000, 1.0),
        ("[" * 500_000, 0.0),
        ("[" * 100_000 + "]" * 100_000, 0.0),
        ('"\ud800"', 1.0),
    ],
)
def test_json_is_valid_if_all_of_the_text_is_json(text: str, valid: float) -> None:
    assert score("json_valid", text) == valid


def test_what_the_engine_said_of_the_schema_goes_before_parsing() -> None:
    told = [Item((Output("{}", json_valid=False),)), Item((Output("{", json_valid=True),))]
    assert scores(told, "json_valid").values["json_valid"].tolist() == [0.0, 1.0]


def test_lengths_are_those_of_the_model_and_of_the_text() -> None:
    items = [Item((Output("größe 中", 5),)), Item((Output("", 0),)), Item((Output("x"),))]
    found = scores(items, "length_tokens", "length_chars")
    assert found.values["length_chars"].tolist() == [7, 0, 1]
    assert found.values["length_tokens"].tolist() == [5, 0, NAN]
    summary = tally(items, "length_tokens").summary("length_tokens", "eval_1")
    assert (summary["n"], summary["nulls"], summary["value"]) == (2, 1, 2.5)


@pytest.mark.parametrize(
    ("text", "distinct_1", "distinct_2", "repetition"),
    [
        ("a b c d e", 1.0, 1.0, 0.0),
        ("a a a a a a", 1 / 6, 1 / 5, 2 / 3),
        ("A b a B", 0.5, 2 / 3, 0.0),
        ("一二一二一二", 2 / 6, 2 / 5, 1 / 3),
        ("word", 1.0, NAN, NAN),
        ("a b c", 1.0, 1.0, NAN),
        ("", NAN, NAN, NAN),
        ("...", NAN, NAN, NAN),
    ],
)
def test_variety_is_counted_in_words_and_null_without_any(
    text: str, distinct_1: float, distinct_2: float, repetition: float
) -> None:
    assert score("distinct_1", text) == distinct_1
    assert score("distinct_2", text) == distinct_2
    assert score("repetition", text) == pytest.approx(repetition, nan_ok=True)


def test_perplexity_of_a_job_is_that_of_all_tokens_together() -> None:
    items = [Item((Output("a", 1, -math.log(2)),)), Item((Output("b", 3, -3 * math.log(4)),))]
    found = tally(items, "perplexity")
    assert scores(items, "perplexity").values["perplexity"] == pytest.approx([2, 4])
    value = found.summary("perplexity", "eval_1")["value"]
    assert value == pytest.approx(math.exp((math.log(2) + 3 * math.log(4)) / 4))


@pytest.mark.parametrize(
    "output",
    [
        Output("a", 3),
        Output("a", None, -1.0),
        Output("a", 0, 0.0),
        Output("a", 1, -math.inf),
        Output("a", 1, math.nan),
        Output("a", 1, -1e9),
    ],
)
def test_perplexity_without_log_probabilities_is_null_and_counted(output: Output) -> None:
    summary = tally([Item((output,))], "perplexity").summary("perplexity", "eval_1")
    assert (summary["n"], summary["nulls"], summary["value"]) == (0, 1, None)
