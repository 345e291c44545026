"""Reads the scores of single items that evaluations stored, without the numbers behind them: of a
few items anywhere in a job, or of all. Knows Redis; nothing of what metrics mean."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence

import numpy as np
import redis

from common.cooperate import Steps
from common.store import keys
from common.store.connection import redis_errors
from common.store.records import reading
from common.store.score_chunk import Floats, unpack_scores_only

AT_ONCE = 32  # chunks read together: a chunk of all metrics has some 60 KiB


class ItemScores:
    """One per process; safe for threads."""

    def __init__(self, client: redis.Redis):
        self._client = client

    def at(self, evaluation_id: str, indices: Sequence[int]) -> dict[int, dict[str, float | None]]:
        """By item, its score of each metric, None where it has none. Items that are not scored yet
        are left out."""
        starts = self._starts(evaluation_id)
        places = {index: bisect_right(starts, index) - 1 for index in indices}
        wanted = sorted({starts[place] for place in places.values() if place >= 0})
        chunks = self._read(evaluation_id, wanted)
        found: dict[int, dict[str, float | None]] = {}
        for index, place in places.items():
            chunk = chunks.get(starts[place], {}) if place >= 0 else {}
            offset = index - starts[place] if place >= 0 else 0
            scores = {name: each[offset] for name, each in chunk.items() if offset < len(each)}
            if scores:
                found[index] = {
                    name: None if np.isnan(score) else float(score)
                    for name, score in scores.items()
                }
        return found

    def all(self, evaluation_id: str, metric: str, total: int) -> Floats:
        """The scores of all `total` items of a job by one metric, NaN where there is none. Lets
        other requests of the process run."""
        found = np.full(total, np.nan)
        starts, steps = self._starts(evaluation_id), Steps()
        for at in range(0, len(starts), AT_ONCE):
            for start, chunk in self._read(evaluation_id, starts[at : at + AT_ONCE], steps).items():
                scores = chunk.get(metric, ())[: max(0, total - start)]
                found[start : start + len(scores)] = scores
        return found

    def _starts(self, evaluation_id: str) -> list[int]:
        """The first item of each chunk, in order."""
        with redis_errors():
            starts = self._client.hkeys(keys.evaluation(evaluation_id, "scores"))
        return sorted(map(int, starts))

    def _read(
        self, evaluation_id: str, starts: Sequence[int], steps: Steps | None = None
    ) -> Mapping[int, Mapping[str, Floats]]:
        """By its first item, each of these chunks that is still there."""
        if not starts:
            return {}
        with redis_errors():
            blobs = self._client.hmget(keys.evaluation(evaluation_id, "scores"), list(starts))
        chunks = {}
        for start, blob in zip(starts, blobs, strict=True):
            if blob is not None:
                with reading(f"the scores from item {start} on of {evaluation_id}"):
                    chunks[start] = unpack_scores_only(blob)
            if steps:
                steps.step()
        return chunks
