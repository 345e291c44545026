"""Jobs that are over and evaluated, so that they can be compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import redis

from common.store.comparisons import Asked, Comparisons
from common.store.evaluation_work import Ended, EvaluationWork
from common.store.evaluations import Asked as AskedMetrics
from common.store.evaluations import Evaluations
from common.store.jobs import JobStore
from common.store.score_chunk import ScoreChunk, pack_scores
from evals.item import Item, Output
from evals.registry import METRICS
from evals.scorer import score_items
from evals.summary import Tally
from worker.comparing import compare_next

CHUNK = 512
Judged = Callable[..., str]  # the fixture `judged`: texts of outputs -> the id of an evaluated job


def evaluate(
    client: redis.Redis, job_id: str, metrics: Sequence[str] = ("rouge_l",), tenant: str = "t"
) -> str:
    """Score a job's outputs as an evaluator does. Answers the evaluation's id."""
    made = Evaluations(client).create(job_id, tenant, AskedMetrics(list(metrics), []))
    chosen = [METRICS[name] for name in metrics]
    items, work = _items(JobStore(client), job_id), EvaluationWork(client)
    claimed = work.claim()
    assert claimed and claimed.id == made.id
    tally = Tally(chosen, len(items))
    for first in range(0, len(items), CHUNK):
        part = items[first : first + CHUNK]
        scores = score_items(part, chosen, "13a")
        tally.add(first, part, scores)
        assert work.keep(claimed, first, _packed(part, scores), first + len(part))
    summary = {name: dict(tally.summary(name, made.id)) for name in metrics}
    signatures = {name: tally.signature(name, "13a") for name in metrics}
    told = {name: signature for name, signature in signatures.items() if signature}
    assert work.end(claimed, Ended(summary, told))[0]
    return made.id


def _packed(items: Sequence[Item], scores: Any) -> bytes:
    failed = np.array([not item.outputs for item in items], np.bool_)
    counts = np.array([len(item.comparable) for item in items], np.float64)
    return pack_scores(ScoreChunk(scores.numbers, scores.values, failed, counts))


def _items(store: JobStore, job_id: str) -> list[Item]:
    total = store.job(job_id).total
    sides = store.side(job_id, 0, total)
    return [
        Item(
            tuple(Output(each["text"], each["token_count"]) for each in row["outputs"]),
            _references(side.get("reference")),
        )
        for row, side in zip(store.rows(job_id, 0, total), sides, strict=True)
    ]


def _references(given: str | list[str] | None) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given or ())


def compare_all(client: redis.Redis) -> int:
    """Do what an evaluator does of comparisons until none waits; answers how many that were."""
    parts = JobStore(client), Evaluations(client), Comparisons(client)
    count = 0
    while compare_next(*parts):
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
