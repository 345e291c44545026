"""The boxes for metrics: every metric has one, by the tasks of the documentation."""

from __future__ import annotations

import re
from pathlib import Path

from evals.registry import METRICS
from web.pages.metric_fields import TASKS, metric_groups, read_metrics, typed_metrics
from web.schemas.metrics import MetricEntry

PAGE = Path(__file__).parents[3] / "docs/evaluation.md"


def test_every_metric_has_one_box() -> None:
    assert sorted(name for names in TASKS.values() for name in names) == sorted(METRICS)


def test_the_groups_are_the_tasks_of_the_documentation() -> None:
    rows = re.findall(r"^\| ([\w ]+) \| (`.+`) \|", PAGE.read_text(), re.M)
    documented = {task: set(re.findall(r"`(\w+)`", names)) for task, names in rows}
    for task, names in TASKS.items():
        told = documented[task] if task in documented else documented[task.lower()]
        assert set(names) <= told, task


def test_only_groups_of_which_every_metric_needs_references_say_so() -> None:
    beside = [group.task for group in metric_groups() if group.beside_references]
    assert beside == ["Translation", "Summaries", "Short answers", "Arithmetic"]


def test_what_is_ticked_is_read_as_it_was_asked_for() -> None:
    asked: list[MetricEntry] = [{"name": "bleu", "tokenize": "zh"}, "rouge_l", "perplexity"]
    assert read_metrics(typed_metrics(asked)) == asked
    assert read_metrics({"metrics.bleu.tokenize": "zh"}) == []
    assert read_metrics({"metrics.nothing": "on", "metrics.chrf": ""}) == []
