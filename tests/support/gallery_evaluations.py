"""What the gallery has of evaluations: jobs that are scored, are being scored, or could not be."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import redis

from common.store.evaluation_work import Ended, EvaluationWork
from common.store.evaluations import Asked, Evaluations
from tests.support.judged_jobs import claim, judge, keep_scores

ITEMS = 70
PAGES = {
    "job-judged": "/jobs/{judged}",
    "job-judged-worst": "/jobs/{judged}?metric=rouge_l&below=0.4&order=score",
    "item-judged": "/jobs/{judged}/items/1",
    "evaluate": "/jobs/{judged}/evaluate",
    "job-judging": "/jobs/{judging}",
    "job-not-judged": "/jobs/{not-judged}",
}


def add_evaluations(
    client: redis.Redis, tenant: str, submit: Callable[..., str], wait: Callable[[str], None]
) -> dict[str, str]:
    """The ids of the jobs, by name; `submit` makes a job of these fields, `wait` waits for its
    end."""
    items = [
        {
            "custom_id": f"text-{index}",
            "prompt": f"Summarise text number {index}, which is about the weather in the hills",
            "reference": [f"Text {index} is about the weather.", "The weather in the hills."],
        }
        for index in range(ITEMS)
    ]
    ids = {
        name: submit(items=items, evaluate=False, metadata={"name": title})
        for name, title in (("judged", "Summaries, scored"), ("judging", "Is being scored"))
    }
    ids["not-judged"] = submit(prompts=["hello"], metadata={"name": "Could not be scored"})
    for job_id in ids.values():
        wait(job_id)
    judge(client, ids["judged"], tenant, {"token_f1": [0.5] * ITEMS})
    judge(client, ids["judged"], tenant, _scores(), *_gate(ids["judging"]))
    evaluations, work = Evaluations(client), EvaluationWork(client)
    running = evaluations.create(ids["judging"], tenant, Asked(["rouge_l"], []))
    keep_scores(work, claim(work, running.id), {"rouge_l": [0.5] * 48})
    failed = evaluations.create(ids["not-judged"], tenant, Asked(["rouge_l"], []))
    error: Any = {
        "code": "evaluator_died",
        "message": "five processes that evaluated this job died; its rows may be too long",
    }
    assert work.end(claim(work, failed.id), Ended({}, {}, error=error))[0]
    evaluations.create(ids["judging"], tenant, Asked(["chrf", "bleu"], []))
    return ids


def _scores() -> dict[str, list[float]]:
    draws = random.Random(7)
    found = {
        "rouge_l": [min(1.0, draws.betavariate(4, 5)) for _ in range(ITEMS)],
        "exact_match": [float(draws.random() < 0.3) for _ in range(ITEMS)],
        "token_f1": [draws.betavariate(2, 1) for _ in range(ITEMS)],
        "length_tokens": [float(draws.randrange(5, 240)) for _ in range(ITEMS)],
        "distinct_2": [1 - draws.random() ** 3 for _ in range(ITEMS)],
        "repetition": [draws.random() ** 6 for _ in range(ITEMS)],
        "json_valid": [1.0] * ITEMS,
    }
    found["rouge_l"][3] = found["distinct_2"][5] = math.nan
    return found


def _gate(baseline: str) -> tuple[Any, Any]:
    """A gate's verdict, and its rules."""
    rules = [
        {"metric": "rouge_l", "min": 0.3},
        {"metric": "length_tokens", "max": 110.0},
        {"metric": "token_f1", "baseline": baseline, "max_drop": 0.02},
    ]
    verdicts = [
        {"metric": "rouge_l", "status": "passed", "reason": None},
        {"metric": "length_tokens", "status": "undecided", "reason": "straddles"},
        {"metric": "token_f1", "status": "failed", "reason": None},
    ]
    return {"status": "failed", "rules": verdicts}, rules
