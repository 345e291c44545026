"""Evaluations with given scores, as an evaluator stores them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import redis

from common.store.evaluation_work import Claimed, Ended, EvaluationWork
from common.store.evaluations import MOST_IN_CHUNK, Asked, Evaluations
from common.store.score_chunk import Floats, ScoreChunk, pack_scores
from common.types import JsonObject
from evals.item import Item, Output
from evals.registry import METRICS
from evals.scorer import Scores
from evals.summary import Tally

Values = Mapping[str, Sequence[float]]


def judge(
    client: redis.Redis,
    job_id: str,
    tenant: str,
    values: Values,
    gate: JsonObject | None = None,
    rules: Sequence[JsonObject] = (),
) -> str:
    """An evaluation of a job that is over, in which these are the scores of its items; NaN for
    none. Answers its id."""
    made = Evaluations(client).create(job_id, tenant, Asked(list(values), list(rules)))
    work = EvaluationWork(client)
    claimed = claim(work, made.id)
    keep_scores(work, claimed, values)
    tally = Tally([METRICS[name] for name in values], claimed.total)
    outputs = Item((Output("x"),), ("x",))
    columns = {name: np.array(column, np.float64) for name, column in values.items()}
    numbers = _numbers(columns)
    tally.add(0, [outputs] * claimed.total, Scores(numbers, columns))
    summary = {name: tally.summary(name, claimed.id) for name in values}
    ended = Ended({name: dict(each) for name, each in summary.items()}, {}, gate)
    assert work.end(claimed, replace(ended, signatures={"rouge_l": "made up"}))[0]
    return made.id


def claim(work: EvaluationWork, evaluation_id: str) -> Claimed:
    """This evaluation, whichever others wait before it."""
    while True:
        claimed = work.claim()
        assert claimed
        if claimed.id == evaluation_id:
            return claimed
        assert work.give_back(claimed, 3600.0)


def keep_scores(work: EvaluationWork, claimed: Claimed, values: Values) -> None:
    total = len(next(iter(values.values())))
    for start in range(0, total, MOST_IN_CHUNK):
        columns = {
            name: np.array(column[start : start + MOST_IN_CHUNK], np.float64)
            for name, column in values.items()
        }
        count = len(next(iter(columns.values())))
        chunk = ScoreChunk(_numbers(columns), columns, np.zeros(count, np.bool_), np.ones(count))
        assert work.keep(claimed, start, pack_scores(chunk), start + count)


def _numbers(columns: Mapping[str, Floats]) -> dict[str, Floats]:
    """As many numbers as each metric has, all equal to the score."""
    return {
        name: np.repeat(column[:, None], len(METRICS[name].columns), axis=1)
        for name, column in columns.items()
    }
