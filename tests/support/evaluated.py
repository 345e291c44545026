"""Jobs that are over and can be evaluated, and evaluations that were scored without an
evaluator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import redis

from bench.lib.jobs import job_fields
from common.result_row import RowOutput
from common.store.evaluation_work import Claimed, Ended, EvaluationWork
from common.store.incarnation import Result
from common.store.item_scores import ItemScores
from common.store.jobs import new_job_id
from common.store.packing import pack
from common.store.score_chunk import ScoreChunk, pack_scores
from common.stored_item import SideItem, StoredItem
from common.types import ItemState
from tests.support.store import Mill


def output(text: str, **more: Any) -> RowOutput:
    found: dict[str, Any] = {
        "text": text,
        "finish_reason": "length",
        "token_count": len(text.split()),
        "logprobs": None,
    }
    return found | more  # type: ignore[return-value]


def new_job(
    mill: Mill,
    references: Sequence[str | list[str] | None],
    tenant: str = "t",
    named: bool = True,
    job_id: str | None = None,
    **fields: object,
) -> str:
    """A job with an item for each reference, or for None without one."""
    stage = mill.store.stage()
    for index, reference in enumerate(references):
        item: StoredItem = {"prompt": f"prompt {index}"}
        if named:
            item["custom_id"] = f"c{index}"
        side: SideItem | None = None if reference is None else {"reference": reference}
        stage.add(item, side)
    stage.close()
    spec = {"params": {"max_tokens": 7}}
    about = job_fields("m", "d", stage.total, spec, tenant=tenant, **fields)
    return mill.store.attach(stage, about, job_id=job_id or new_job_id()).job_id


def run_job(mill: Mill, outputs: Sequence[str | RowOutput | list[RowOutput] | None]) -> None:
    """What a worker does with the only job there is: items end with these outputs, with an error
    where it is None."""
    worker = mill.worker(slots=64)
    handed: list[Result] = []
    while runs := worker.exchange(handed, 64).runs:
        handed = [
            _result(run.job_id, run.first + i, run.attempt, outputs[run.first + i])
            for run in runs
            for i in range(run.count)
        ]
    worker.release()


def _result(
    job_id: str, index: int, attempt: int, said: str | RowOutput | list[RowOutput] | None
) -> Result:
    if said is None:
        blob, state = pack({"error": {"code": "made_up", "message": "it failed"}}), "failed"
    else:
        outputs = [output(said)] if isinstance(said, str) else said
        blob, state = (
            pack({"outputs": outputs if isinstance(outputs, list) else [outputs]}),
            "succeeded",
        )
    return Result(job_id, index, attempt, ItemState(state), 3, 5, blob)


def ended_job(
    mill: Mill,
    outputs: Sequence[str | RowOutput | list[RowOutput] | None],
    references: Sequence[str | list[str] | None] | None = None,
    **fields: Any,
) -> str:
    """A job that is over; without `references` its items have none."""
    job_id = new_job(mill, references or [None] * len(outputs), **fields)
    run_job(mill, outputs)
    return job_id


def scores_of(values: Sequence[float], metric: str = "rouge_l") -> bytes:
    """A chunk in which a metric has one number an item, which is its score."""
    column = np.array(values, np.float64)
    none = np.zeros(len(values), np.bool_)
    return pack_scores(
        ScoreChunk({metric: column[:, None]}, {metric: column}, none, np.ones(len(values)))
    )


def score(
    mill: Mill, values: Sequence[float], ended: Ended | None = None, metric: str = "rouge_l"
) -> Claimed:
    """Does what an evaluator does with the evaluation whose turn it is, of at most 512 items."""
    work = EvaluationWork(mill.client)
    claimed = work.claim()
    assert claimed
    assert work.keep(claimed, 0, scores_of(values, metric), len(values))
    assert work.end(claimed, ended or Ended({metric: {"n": len(values)}}, {}))[0]
    return claimed


def stored_scores(
    client: redis.Redis, evaluation_id: str, count: int
) -> dict[str, list[float | None]]:
    """By metric, the scores of the first items; None where there is none, or not yet."""
    reader = ItemScores(client).reader(evaluation_id)
    rows = [reader.of(index) for index in range(count)]
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}
