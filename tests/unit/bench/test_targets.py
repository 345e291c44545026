"""Targets of benchmarks: which are missed, and which were not measured."""

from __future__ import annotations

import math
from typing import Any

import pytest

from bench.lib.rates import rates
from bench.lib.targets import ENGINE, PERPLEXITY, Target, verdict

LEAST, MOST = Target("ratio.vllm", at_least=1.2), Target("step_outside_ms", at_most=4.0)


def line(vllm: float | None, outside: float | None) -> dict[str, Any]:
    return {"ratio": {"vllm": vllm}, "step_outside_ms": outside}


def test_a_target_is_reached_at_its_limit() -> None:
    assert verdict((LEAST, MOST), line(1.2, 4.0)) == {"missed": [], "not_measured": []}


def test_what_is_missed_is_told_with_figure_and_target() -> None:
    assert verdict((LEAST, MOST), line(1.199, 4.01))["missed"] == [
        {"figure": "ratio.vllm", "measured": 1.199, "target": ">= 1.2"},
        {"figure": "step_outside_ms", "measured": 4.01, "target": "<= 4.0"},
    ]


def test_what_was_not_measured_is_not_reached() -> None:
    assert verdict((LEAST, MOST), line(None, 3.0)) == {
        "missed": [],
        "not_measured": ["ratio.vllm"],
    }


def test_what_is_no_number_reaches_nothing() -> None:
    missed = verdict((LEAST, MOST), line(math.nan, math.nan))["missed"]
    assert [each["figure"] for each in missed] == ["ratio.vllm", "step_outside_ms"]


def test_a_figure_that_the_line_lacks_is_an_error() -> None:
    with pytest.raises(KeyError):
        verdict((LEAST,), {"ratio": {}})


def test_each_target_has_one_limit_and_a_figure_of_its_own() -> None:
    targets = ENGINE + PERPLEXITY
    assert all((each.at_least is None) != (each.at_most is None) for each in targets)
    assert len({each.figure for each in targets}) == len(targets)


def test_every_ratio_that_is_a_target_is_computed() -> None:
    ratios = rates({}, {})["ratio"]
    wanted = {each.figure.partition(".")[2] for each in ENGINE if each.figure[:6] == "ratio."}
    assert wanted == set(ratios)
