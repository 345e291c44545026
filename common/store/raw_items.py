"""Reads what is stored of items as it is, without parsing it: states, order of completion, results.

For what looks at many items and shows few: charts and searches.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import redis

from common.errors import NotFound
from common.store import keys
from common.store.connection import redis_errors
from common.store.scripts import Scripts


@dataclass(frozen=True, slots=True)
class PickedItem:
    index: int
    state: int  # the byte of `ItemState`
    result: bytes  # for `rows.parse_result`; empty where there is none
    start: int  # the first index of its chunk


@dataclass(frozen=True, slots=True)
class Picked:
    """Items as they are stored, and by first index the chunks of their inputs, for `unpack`, and of
    what is beside them, for `unpack_side`, where there is anything."""

    items: list[PickedItem]
    chunks: dict[int, bytes]
    sides: dict[int, bytes]


class RawItems:
    """The part of `JobStore` that parses nothing; safe for threads."""

    def __init__(self, client: redis.Redis):
        self.client = client
        self.scripts = Scripts(client)

    def states(self, job_id: str) -> bytes:
        """The state of each item, a byte each (`ItemState.byte`); empty of a job that is gone."""
        with redis_errors():
            found: bytes = self.client.get(keys.job(job_id, "st")) or b""
        return found

    def has_side(self, job_id: str) -> bool:
        """Whether any of its items has a `SideItem`."""
        with redis_errors():
            return bool(self.client.exists(keys.job(job_id, "side")))

    def chunks(self, job_id: str) -> int:
        """In how many chunks its items are stored."""
        with redis_errors():
            return int(self.client.zcard(keys.job(job_id, "starts")))

    def pick(self, job_id: str, indices: Sequence[int], beside: bool) -> Picked:
        """What is stored of these items, given in ascending order, and `beside` them, unread: for a
        search, which looks into most of them in vain.

        Raises:
            NotFound: the job is gone.
        """
        with redis_errors():
            states, lengths, results, starts, *chunks = self.scripts.pick(
                *indices, id=job_id, beside=int(beside)
            )
        if len(states) < len(indices):
            raise NotFound(f"no job {job_id}")
        at, items = 0, []
        sizes, firsts = (struct.iter_unpack(">I", each) for each in (lengths, starts))
        for index, state, (size,), (start,) in zip(indices, states, sizes, firsts, strict=True):
            items.append(PickedItem(index, state, results[at : at + size], start))
            at += size
        sides = {start: side for start, side in zip(chunks[::3], chunks[2::3], strict=True) if side}
        return Picked(items, dict(zip(chunks[::3], chunks[1::3], strict=True)), sides)

    def finished_after(self, job_id: str, cursor: int, limit: int) -> list[int]:
        """Indices in order of completion, from the cursor-th on: a reader of k of them goes on at
        cursor k.

        Items that were cancelled or expired before they ran have no result and do not appear.
        """
        with redis_errors():
            packed = self.client.getrange(
                keys.job(job_id, "order"), cursor * 4, (cursor + limit) * 4 - 1
            )
        return [index for (index,) in struct.iter_unpack(">I", packed)]

    def finished(self, job_id: str) -> int:
        """How many items have a result."""
        with redis_errors():
            return int(self.client.strlen(keys.job(job_id, "order"))) // 4

    def finished_at(self, job_id: str, places: Iterable[int]) -> list[int]:
        """The indices at these places in the order of completion, of which each is there."""
        line = keys.job(job_id, "order")
        with redis_errors():
            pipe = self.client.pipeline(transaction=False)
            for place in places:
                pipe.getrange(line, place * 4, place * 4 + 3)
            found = pipe.execute()
        return [int.from_bytes(packed, "big") for packed in found if packed]

    def result_blobs(self, job_id: str, indices: Sequence[int]) -> list[bytes | None]:
        """The results of these items as they are stored, for `rows.parse_result`; None where there
        is none."""
        if not indices:
            return []
        with redis_errors():
            found: list[bytes | None] = self.client.hmget(
                keys.job(job_id, "out"), [str(index) for index in indices]
            )
        return found
