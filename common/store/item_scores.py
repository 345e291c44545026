"""Reads the scores of single items that evaluations stored, without the numbers behind them: of
items anywhere in a job, or of all. Knows Redis; nothing of what metrics mean."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import redis

from common.cooperate import Steps
from common.store import keys
from common.store.connection import redis_errors
from common.store.records import reading
from common.store.score_chunk import Floats, unpack_scores_only

AT_ONCE = 32  # chunks read together: a chunk of all metrics has some 60 KiB
MOST_CHUNKS = 4  # kept by a reader: items mostly come in their order


class ItemScores:
    """One per process; safe for threads."""

    def __init__(self, client: redis.Redis):
        self._client = client

    def reader(self, evaluation_id: str) -> ScoreReader:
        return ScoreReader(self, evaluation_id)

    def all(self, evaluation_id: str, metric: str, total: int) -> Floats:
        """The scores of all `total` items of a job by one metric, NaN where there is none. Lets
        other requests of the process run."""
        found = np.full(total, np.nan)
        starts, steps = self.starts(evaluation_id), Steps()
        for at in range(0, len(starts), AT_ONCE):
            some = starts[at : at + AT_ONCE]
            for start, chunk in self.read(evaluation_id, some, metric, steps).items():
                scores = chunk.get(metric, ())[: max(0, total - start)]
                found[start : start + len(scores)] = scores
        return found

    def starts(self, evaluation_id: str) -> list[int]:
        """The first item of each chunk, in order."""
        with redis_errors():
            starts = self._client.hkeys(keys.evaluation(evaluation_id, "scores"))
        return sorted(map(int, starts))

    def read(
        self,
        evaluation_id: str,
        starts: Sequence[int],
        metric: str | None = None,
        steps: Steps | None = None,
    ) -> Mapping[int, Mapping[str, Floats]]:
        """By its first item, each of these chunks that is still there; with `metric` only what is
        needed for it."""
        if not starts:
            return {}
        with redis_errors():
            blobs = self._client.hmget(keys.evaluation(evaluation_id, "scores"), list(starts))
        chunks = {}
        for start, blob in zip(starts, blobs, strict=True):
            if blob is not None:
                with reading(f"the scores from item {start} on of {evaluation_id}"):
                    chunks[start] = unpack_scores_only(blob, metric)
            if steps:
                steps.step()
        return chunks


class ScoreReader:
    """The scores of one evaluation's items, item by item in any order."""

    def __init__(self, scores: ItemScores, evaluation_id: str):
        self._scores = scores
        self._evaluation_id = evaluation_id
        self._chunks: dict[int, Mapping[str, Floats]] = {}

    def of(self, index: int) -> dict[str, float | None]:
        """By metric, None where the item has none; empty where it is not scored yet."""
        place = bisect_right(self._starts, index) - 1
        if place < 0:
            return {}
        start = self._starts[place]
        offset, chunk = index - start, self._chunk(start)
        found = {name: float(each[offset]) for name, each in chunk.items() if offset < len(each)}
        return {name: None if math.isnan(score) else score for name, score in found.items()}

    def look_ahead(self, indices: Sequence[int]) -> None:
        """Read at once what these items need, which are asked for next."""
        places = (bisect_right(self._starts, index) - 1 for index in indices)
        wanted = {self._starts[place] for place in places if place >= 0}
        if not wanted <= self._chunks.keys():
            self._chunks = dict(self._scores.read(self._evaluation_id, sorted(wanted)))

    @cached_property
    def _starts(self) -> list[int]:
        return self._scores.starts(self._evaluation_id)

    def _chunk(self, start: int) -> Mapping[str, Floats]:
        if start not in self._chunks:
            while len(self._chunks) >= MOST_CHUNKS:
                self._chunks.pop(next(iter(self._chunks)))
            self._chunks[start] = self._scores.read(self._evaluation_id, [start]).get(start, {})
        return self._chunks[start]
