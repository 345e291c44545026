"""The registry of metrics: what a request may name, and what docs and presets say of them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from evals.item import Item, Output
from evals.registry import METRICS, UnknownMetric, choose
from tests.support.judged import scores

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "evaluation.md"


def test_metrics_are_chosen_by_name_or_with_options() -> None:
    found = choose(["rouge_l", {"name": "bleu", "tokenize": "zh"}, {"name": "chrf"}])
    assert [metric.name for metric in found.metrics] == ["rouge_l", "bleu", "chrf"]
    assert found.tokenizer == "zh"
    assert choose(["bleu"]).tokenizer is None
    assert choose([]).metrics == ()


@pytest.mark.parametrize(
    ("wanted", "place", "said"),
    [
        (["rouge_l", "rougeL"], 1, "there is no metric 'rougeL': did you mean 'rouge_"),
        (["accuracy"], 0, "there is no metric 'accuracy': there are bleu, chrf,"),
        ([{"name": "bleu", "tokenize": "zzz"}], 0, "there is no tokenizer 'zzz': there are 13a,"),
        ([{"name": "bleu", "tokenize": None}], 0, "there is no tokenizer 'None'"),
        ([{"name": "chrf", "tokenize": "zh"}], 0, "chrf has no option 'tokenize'"),
        ([{"tokenize": "zh"}], 0, "there is no metric 'None'"),
        ([{"name": ["bleu"]}], 0, "there is no metric"),
        (["chrf", "chrf"], 1, "chrf is there twice"),
        (["x" * 10_000], 0, "there is no metric"),
    ],
)
def test_what_there_is_not_is_refused_with_its_place(
    wanted: list[str | dict[str, object]], place: int, said: str
) -> None:
    with pytest.raises(UnknownMetric, match=re.escape(said)) as refused:
        choose(wanted)
    assert refused.value.place == place
    assert len(str(refused.value)) < 300


def test_presets_name_metrics_that_there_are() -> None:
    for path in (ROOT / "web" / "intake" / "builtin").glob("*.toml"):
        named = tomllib.loads(path.read_text())["metrics"]
        assert [metric.name for metric in choose(named).metrics] == named, path.name


def test_the_page_has_every_metric_with_what_the_registry_says_of_it() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \| ([^|]*) \| ([^|]*) \|", PAGE.read_text(), re.M)
    told = {name: (meaning, between, better) for name, meaning, between, better in rows}
    wanted = {}
    for name, metric in METRICS.items():
        high = "" if metric.high is None else f"{metric.high:g}"
        wanted[name] = (metric.meaning, f"{metric.low:g}–{high}", metric.better or "neither")
    assert told == wanted


def test_only_bleu_of_a_single_item_has_another_name() -> None:
    names = {name: metric.row_name for name, metric in METRICS.items()}
    assert names == {name: name for name in METRICS} | {"bleu": "bleu_sentence"}


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize(
    "text", ["\x00", "\ud800", "\U0010ffff", "e\u0301" * 100, "\u200d", "=1+1", "{{", "\r\n", "𝔘🙂"]
)
def test_hostile_characters_have_a_score_and_it_is_that_of_equal_texts(
    name: str, text: str
) -> None:
    metric = METRICS[name]
    output = Output(f"word {text} 7", 5, -1.0, None)
    value = scores([Item((output,), (output.text,))], name).values[name][0]
    assert not np.isnan(value) or name == "repetition"
    if metric.needs == "references" and name != "bleu":
        assert value == pytest.approx(metric.high)
