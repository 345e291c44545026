"""Boxes for metrics, which the submit form and the form of an evaluation have: read into a list of
metrics, and ticked like one. An input is named `metrics.` and the metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evals.bleu_words import TOKENIZERS
from evals.metric import Metric
from evals.registry import METRICS
from web.schemas.metrics import MetricEntry, names_of

METRIC = "metrics."
TOKENIZE = f"{METRIC}bleu.tokenize"
CHOICES: dict[str, tuple[str, ...]] = {
    **{f"{METRIC}{name}": ("on",) for name in METRICS},
    TOKENIZE: ("", *TOKENIZERS),
}
# The tasks of docs/evaluation.md, each with the metrics that no task before it has.
TASKS = {
    "Translation": ("chrf", "bleu"),
    "Summaries": ("rouge_1", "rouge_2", "rouge_l"),
    "Short answers": ("exact_match", "token_f1", "contains"),
    "Arithmetic": ("number_match",),
    "JSON": ("json_valid",),
    "Open writing": (
        *("distinct_1", "distinct_2", "repetition"),
        *("length_tokens", "length_chars", "perplexity"),
    ),
}


@dataclass(frozen=True)
class MetricGroup:
    """What suits a task. `beside_references`: all of it compares outputs with references."""

    task: str
    metrics: list[Metric]
    beside_references: bool


def metric_groups() -> list[MetricGroup]:
    """Every metric once, as the forms list them."""
    found = []
    for task, names in TASKS.items():
        metrics = [METRICS[name] for name in names]
        found.append(
            MetricGroup(task, metrics, all(each.needs == "references" for each in metrics))
        )
    return found


def read_metrics(form: Mapping[str, str]) -> list[MetricEntry]:
    """The metrics that are ticked, as the API takes them."""
    names = [name for group in TASKS.values() for name in group if form.get(f"{METRIC}{name}")]
    tokenize = form.get(TOKENIZE)
    return [
        {"name": name, "tokenize": tokenize} if name == "bleu" and tokenize else name
        for name in names
    ]


def at_its_box(entry: Mapping[str, object], form: Mapping[str, str]) -> Mapping[str, object]:
    """An error of the API, which names a metric by its place in the list, with the name of its box
    instead, and in words of the form. Other errors stay as they are."""
    group, _, place = str(entry.get("field") or "").partition(".")
    names = names_of(read_metrics(form))
    if group != "metrics" or not place.isdecimal() or int(place) >= len(names):
        return entry
    box = {**entry, "field": f"{METRIC}{names[int(place)]}"}
    if entry.get("code") == "unsupported":
        box["message"] = "Type 0 for logprobs under More parameters, or leave this out."
    return box


def typed_metrics(metrics: Sequence[MetricEntry]) -> dict[str, str]:
    """What somebody would tick for these: the inverse of `read_metrics`."""
    typed = {}
    for entry in metrics:
        said = {"name": entry} if isinstance(entry, str) else entry
        typed[f"{METRIC}{said['name']}"] = "on"
        if tokenize := said.get("tokenize"):
            typed[TOKENIZE] = str(tokenize)
    return typed
