"""Jobs that are over and evaluated, so that they can be compared."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import redis

from common.store.comparisons import Asked, Comparisons
from common.store.evaluation_work import EvaluationWork
from common.store.evaluations import Asked as AskedMetrics
from common.store.evaluations import Evaluations
from worker.comparing import Comparing
from worker.evaluating import Evaluating

Judged = Callable[..., str]  # the fixture `judged`: texts of outputs -> the id of an evaluated job


def evaluate(
    client: redis.Redis,
    job_id: str,
    metrics: Sequence[str] = ("rouge_l",),
    tenant: str = "t",
    references: Mapping[int, list[str]] | None = None,
) -> str:
    """Have a job's outputs scored. Answers the evaluation's id."""
    asked = AskedMetrics(list(metrics), [])
    made = Evaluations(client).create(job_id, tenant, asked, references)
    evaluating = Evaluating(client, EvaluationWork(client), threading.Event())
    while evaluating.evaluate_next():
        pass
    return made.id


def compare_all(client: redis.Redis) -> int:
    """Do what an evaluator does of comparisons until none waits; answers how many that were."""
    comparing, count = Comparing(client, threading.Event()), 0
    while comparing.compare_next():
        count += 1
    return count


def compared(client: redis.Redis, *job_ids: str, tenant: str = "t") -> dict[str, Any]:
    """What comes of comparing these jobs."""
    comparisons, evaluations = Comparisons(client), Evaluations(client)
    found = [evaluations.newest_done(job_id) for job_id in job_ids]
    asked = Asked(job_ids, tuple(each.id for each in found if each))
    comparisons.create(tenant, asked)
    compare_all(client)
    result = comparisons.get(asked.id).result
    assert result is not None
    return result
