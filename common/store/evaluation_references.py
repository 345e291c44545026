"""The references that come with an evaluation, in place of those that the job's items have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import redis

from common.store import keys
from common.store.connection import redis_errors
from common.store.packing import pack, unpack
from common.store.records import reading

REFERENCES = 64  # items whose references are stored together
MOST_SENT = 1 << 20  # bytes of references sent in one command, about
STAGED = 3600  # seconds that references are kept until the evaluation is


class EvaluationReferences:
    """One per process; safe for threads."""

    def __init__(self, client: redis.Redis):
        self._client = client

    def stage(self, evaluation_id: str, references: Mapping[int, list[str]]) -> int:
        """Put references under a time to live until the evaluation is made; answers their bytes."""
        record, total = keys.evaluation(evaluation_id, "refs"), 0
        with redis_errors():
            for part in _parts(references):
                pipe = self._client.pipeline(transaction=True)
                pipe.hset(record, mapping=part)
                pipe.expire(record, STAGED)
                pipe.execute()
                total += sum(map(len, part.values()))
        return total

    def read(self, evaluation_id: str, first: int, count: int) -> list[list[str] | None]:
        """The references that were given with the evaluation, of items [first, first + count); None
        for items without."""
        begin = first - first % REFERENCES
        starts = list(range(begin, first + count, REFERENCES))
        with redis_errors():
            blobs = self._client.hmget(keys.evaluation(evaluation_id, "refs"), starts)
        found: list[list[str] | None] = []
        for start, blob in zip(starts, blobs, strict=True):
            with reading(f"the references from item {start} on of {evaluation_id}"):
                found += unpack(blob) if blob else [None] * REFERENCES
        return found[first - begin : first - begin + count]


def _parts(references: Mapping[int, list[str]]) -> Iterator[dict[int, bytes]]:
    """References as they are stored, a command's worth at a time: first index of so many items ->
    their references, null for items without."""
    part: dict[int, bytes] = {}
    size = 0
    for start in sorted({index - index % REFERENCES for index in references}):
        blob = pack([references.get(index) for index in range(start, start + REFERENCES)])
        if part and size + len(blob) > MOST_SENT:
            yield part
            part, size = {}, 0
        part[start] = blob
        size += len(blob)
    yield part
