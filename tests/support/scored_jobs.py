"""Jobs that are over, and what an evaluator would say of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from common.store.evaluation_work import Ended, EvaluationWork
from common.store.evaluations import MOST_IN_CHUNK
from common.store.score_chunk import ScoreChunk, pack_scores
from evals.registry import METRICS
from tests.support.web import Web

Scores = Mapping[str, Sequence[float | None]]  # of all items, by metric


def finished_job(web: Web, items: Sequence[Any] = ("one", "two", "three"), **fields: Any) -> str:
    """The id of a job that is over and does not evaluate itself. A text is an item's prompt, which
    is its custom_id as well."""
    made = [
        {"prompt": item, "custom_id": item} if isinstance(item, str) else item for item in items
    ]
    body = {"items": made, "evaluate": False, **fields}
    answer = web.post("/v1/jobs", json=body)
    assert answer.status_code == 202, answer.text
    web.worker().run(room=len(items))
    return str(answer.json["id"])


def evaluate(web: Web, job_id: str, scores: Scores, **more: Any) -> str:
    """The id of an evaluation of the job that found these scores; `more` are fields of `Ended`."""
    answer = web.post(f"/v1/jobs/{job_id}/evaluations", json={"metrics": list(scores)})
    assert answer.status_code == 202, answer.text
    end_evaluation(web, scores, **more)
    return str(answer.json["id"])


def end_evaluation(web: Web, scores: Scores, **more: Any) -> None:
    """Do what an evaluator does with the evaluation whose turn it is."""
    work = EvaluationWork(web.services.redis)
    claimed = work.claim()
    assert claimed is not None
    values = {
        name: np.array([np.nan if score is None else score for score in line])
        for name, line in scores.items()
    }
    for first in range(0, claimed.total, MOST_IN_CHUNK):
        end = min(first + MOST_IN_CHUNK, claimed.total)
        part = {name: line[first:end] for name, line in values.items()}
        size = end - first
        chunk = ScoreChunk(
            {name: np.full((size, len(METRICS[name].columns)), np.nan) for name in part},
            part,
            np.zeros(size, np.bool_),
            np.full(size, np.nan),
        )
        assert work.keep(claimed, first, pack_scores(chunk), end)
    work.end(claimed, Ended(more.pop("summary", {}), {}, **more))
