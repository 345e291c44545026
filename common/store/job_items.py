"""What is in a job: the items as they were submitted, and what became of them. Reads only.

Keys are in `common/store/keys.py`; `common/store/rows.py` makes the rows that users see.
"""

from __future__ import annotations

import json
import logging
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json

from common.errors import NotFound
from common.result_row import Row, RowResult
from common.store import keys
from common.store.connection import redis_errors
from common.store.job_prep import WORKERS_NEED, JobPrep, parse_prep
from common.store.job_spec import JobSpec, parse_spec
from common.store.packing import expand, unpack
from common.store.raw_items import RawItems
from common.store.records import Unreadable, reading
from common.store.rows import NO_RESULT, answer, complete_params
from common.store.side_chunk import unpack_side
from common.stored_item import SideItem, StoredItem
from common.types import ItemState

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Head:
    """What of a job a worker needs to run its items. `spec` is without the job's metadata and
    webhook."""

    spec: JobSpec
    created_at: int  # ms
    digest: str  # of the model that the items were counted for
    interactive: bool
    prep: JobPrep = field(default_factory=JobPrep)  # template, clean and truncate of it


@dataclass(frozen=True, slots=True)
class Chunk:
    """Items of a job that are stored together; `size` is in bytes of their JSON."""

    head: Head
    items: list[StoredItem]
    size: int


class JobItems(RawItems):
    """Reads the items of jobs. `JobStore` has all of it; safe for threads."""

    def items(self, job_id: str, first: int, count: int) -> list[StoredItem]:
        """Inputs of items [first, first + count), fewer at the end of the job. Unknown jobs have
        none."""
        with redis_errors():
            starts = self._chunk_starts(job_id, first, count)
            blobs = self.client.hmget(keys.job(job_id, "in"), starts) if starts else []
        found: list[StoredItem] = []
        for start, blob in zip(starts, blobs, strict=True):
            if blob is not None:
                chunk = unpack(blob)
                found.extend(chunk[max(0, first - start) : max(0, first + count - start)])
        return found

    def chunk(self, job_id: str, start: int, head: Head | None = None) -> Chunk:
        """What a worker needs to run items of one chunk; `head` is their job's, if it was read
        before. One round trip.

        Raises:
            NotFound: the job is gone.
        """
        with redis_errors():
            pipe = self.client.pipeline(transaction=False)
            pipe.hget(keys.job(job_id, "in"), str(start))
            if head is None:
                pipe.hmget(keys.job(job_id), "spec", "created_at", "digest", "interactive")
                pipe.hmget(keys.job(job_id, "prep"), WORKERS_NEED)
            blob, *about = pipe.execute()
        if blob is None or (about and about[0][0] is None):
            raise NotFound(f"no job {job_id}")
        text = expand(blob)
        return Chunk(head or _head(job_id, about[0], about[1]), from_json(text), len(text))

    def side(self, job_id: str, first: int, count: int) -> list[SideItem]:
        """What is kept beside items [first, first + count), fewer at the end of the job: {} for
        those that have nothing.

        Raises:
            Unreadable: it is damaged.
        """
        with redis_errors():
            pipe = self.client.pipeline(transaction=False)
            pipe.strlen(keys.job(job_id, "st"))
            pipe.exists(keys.job(job_id, "side"))
            total, kept = pipe.execute()
            starts = self._chunk_starts(job_id, first, count) if kept else []
            blobs = self.client.hmget(keys.job(job_id, "side"), starts) if starts else []
        found: list[SideItem] = [{} for _ in range(max(0, min(count, total - first)))]
        for start, blob in zip(starts, blobs, strict=True):
            if blob is not None:
                with reading(f"what is beside items from {start} on of {job_id}"):
                    part = unpack_side(blob)[max(0, first - start) : max(0, first + count - start)]
                place = max(0, start - first)
                found[place : place + len(part)] = part
        return found

    def prep(self, job_id: str) -> JobPrep:
        """How the job's prompts are made of variables, and its columns; {} where it has neither.

        Raises:
            Unreadable: it is damaged.
        """
        with redis_errors():
            stored = self.client.hgetall(keys.job(job_id, "prep"))
        return parse_prep(job_id, {name.decode(): value for name, value in stored.items()})

    def _chunk_starts(self, job_id: str, first: int, count: int) -> list[int]:
        line, pipe = keys.job(job_id, "starts"), self.client.pipeline(transaction=False)
        pipe.zrevrangebyscore(line, first, "-inf", start=0, num=1)
        pipe.zrangebyscore(line, f"({first}", f"({first + count}")
        before, inside = pipe.execute()
        return [int(start) for start in before + inside]

    def rows(self, job_id: str, first: int, count: int, spec: JobSpec | None = None) -> list[Row]:
        """Items as `row` shows them, with state and, where there is one, result."""
        return [found for _, found in self.answers(job_id, first, count, spec)]

    def answers(
        self, job_id: str, first: int, count: int, spec: JobSpec | None = None
    ) -> list[tuple[StoredItem, Row]]:
        """Items as they were stored, each with its `row`."""
        with redis_errors():
            states, lengths, results, *chunks = self.scripts.rows(
                id=job_id, first=first, count=count
            )
        if not states:
            return []
        spec = spec or self._spec(job_id)
        inputs = _between(job_id, first, len(states), chunks)
        params, at, found = complete_params(spec, {}), 0, []
        for i, (item, state, (length,)) in enumerate(
            zip(inputs, states, struct.iter_unpack(">I", lengths), strict=True)
        ):
            blob, at = results[at : at + length], at + length
            found.append(answer(job_id, first + i, item, state, blob, spec, params))
        return found

    def _spec(self, job_id: str) -> JobSpec:
        with redis_errors():
            found = self.client.hget(keys.job(job_id), "spec")
        if found is None:
            raise NotFound(f"no job {job_id}")
        return parse_spec(job_id, found)

    def results(self, job_id: str, count: int) -> list[RowResult]:
        """What became of the first `count` items, without what was asked: the short form of `rows`.

        Those without a result have a `status` instead: they were cancelled or expired before they
        ran.
        """
        with redis_errors():
            blobs = self.client.hmget(
                keys.job(job_id, "out"), [str(index) for index in range(count)]
            )
            states = (
                b"" if all(blobs) else self.client.getrange(keys.job(job_id, "st"), 0, count - 1)
            )
        if not all(blobs) and len(states) < count:
            raise NotFound(f"no job {job_id}")
        empty: RowResult = {
            **NO_RESULT,
            "status": "",
            "prompt_logprobs": None,
            "error": None,
            "seed": None,
        }
        return [
            {**empty, **unpack(blob)}
            if blob
            else {**empty, "status": ItemState.from_byte(chr(states[index])).value}
            for index, blob in enumerate(blobs)
        ]

    def said(self, job_id: str, among: Iterable[int] | None = None) -> list[tuple[int, bytes]]:
        """What streamed items without a result said so far, as (index, entry) in order of an item's
        entries; of all of them, or of some."""
        with redis_errors():
            indices = sorted(
                int(index) for index in self.client.smembers(keys.job(job_id, "streams"))
            )
            if among is not None:
                indices = sorted({*indices} & {*among})
            pipe = self.client.pipeline(transaction=False)
            for index in indices:
                pipe.lrange(keys.job(job_id, f"events:{index}"), 0, -1)
            lists = pipe.execute() if indices else []
        return [
            (index, entry)
            for index, entries in zip(indices, lists, strict=True)
            for entry in entries
        ]


def _head(job_id: str, record: list[Any], prep: list[bytes | None]) -> Head:
    """Of what `chunk` reads of a job's record and of its prep."""
    spec, created_at, digest, interactive = record
    needed: JobSpec = json.loads(spec)
    needed.pop("metadata", None)
    needed.pop("webhook", None)
    prepared = parse_prep(job_id, dict(zip(WORKERS_NEED, prep, strict=True)))
    return Head(needed, int(created_at), digest.decode(), interactive == b"1", prepared)


def _between(job_id: str, first: int, count: int, chunks: list[Any]) -> list[Any]:
    """Items [first, first + count) of chunks as `rows` answers them: start, chunk, start, chunk,
    ... None for one that cannot be read."""
    found: list[Any] = [None] * count
    for start, blob in zip(chunks[::2], chunks[1::2], strict=True):
        try:
            with reading(f"items from {start} on of {job_id}"):
                part = unpack(blob)[max(0, first - start) : max(0, first + count - start)]
        except Unreadable as error:
            log.warning("%s: %s", error, error.__cause__, extra={"job": job_id})
        else:
            place = max(0, start - first)
            found[place : place + len(part)] = part
    return found
