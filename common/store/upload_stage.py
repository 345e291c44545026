"""The stage: a job's items while they are uploaded, before `attach` or `append` puts them into a
job."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections import defaultdict

import redis
from pydantic_core import to_json

from common.store import keys
from common.store.connection import redis_errors
from common.store.job_prep import JobPrep, stored_prep
from common.store.packing import pack_list
from common.store.side_chunk import pack_side, side_bytes
from common.stored_item import SideItem, StoredItem

# Items compressed together: most of the gain of larger chunks, and one claim reads few it does not
# need.
CHUNK = 64
CHUNK_BYTES = 256 * 2**10  # of their JSON, or of their sides', unless one item alone has more
STAGE_TTL = 3600  # seconds an unfinished upload is kept
BUCKETS = 1024  # of a job's custom_ids: an append of one item looks at a thousandth of them
DIGEST = 8  # bytes of each: two ids of 100,000 fall together once in a trillion jobs
BUCKETS_SENT = 128  # in one round trip


def custom_id_digest(custom_id: str) -> tuple[int, bytes]:
    """Where a job keeps that it has this custom_id: (bucket, digest)."""
    found = hashlib.blake2b(custom_id.encode(), digest_size=2 + DIGEST).digest()
    return int.from_bytes(found[:2], "big") % BUCKETS, found[2:]


class Stage:
    """A job's items while they stream in, written in chunks and never held whole. Gone in an hour
    unless attached.

    Digests of their custom_ids go along, so that an append finds those that are taken without
    reading the job.

    `n` is how many continuations, and so slots, an item takes that does not say it. `prep` goes
    with the attach; an append adds its columns to the job's.
    """

    def __init__(self, client: redis.Redis, n: int = 1):
        self.id = secrets.token_hex(10)
        self.total = 0
        self.bytes = 0  # as stored, with the sides
        self.prep: JobPrep | None = None
        self.format_bytes = 0  # of the job's output format, which its spec has
        self.whole = b""  # all of it, where that goes with the attach
        self.whole_side = b""  # its side, if it has one
        self._n = n
        self._needs = bytearray()  # slots that each item takes
        self.whole_ids = b""  # its custom_ids: two bytes of bucket and a digest each
        self._ids: defaultdict[int, bytearray] = defaultdict(bytearray)  # bucket -> digests
        self._client = client
        self._chunk: list[bytes] = []  # items as JSON
        self._side: list[SideItem] = []
        self._sizes = (0, 0)  # bytes of both as JSON
        self._pipe = client.pipeline(transaction=False)
        self._in, self._starts = keys.stage(self.id, "in"), keys.stage(self.id, "starts")
        self._needs_key, self._side_key = keys.stage(self.id, "needs"), keys.stage(self.id, "side")

    def add(self, item: StoredItem, side: SideItem | None = None) -> None:
        """Stage an item with what is kept beside it."""
        text = to_json(item)
        more = (len(text), side_bytes(side))
        if any(size + add > CHUNK_BYTES for size, add in zip(self._sizes, more, strict=True)):
            self._close_chunk()
        self._chunk.append(text)
        self._side.append(side or {})
        self._sizes = (self._sizes[0] + more[0], self._sizes[1] + more[1])
        self._needs.append(item.get("params", {}).get("n", self._n))
        if "custom_id" in item:
            bucket, digest = custom_id_digest(item["custom_id"])
            self._ids[bucket] += digest
            self.bytes += DIGEST
        if len(self._chunk) == CHUNK:
            self._close_chunk()

    def _pack_chunk(self) -> tuple[bytes, bytes]:
        """The open chunk and its side, which is empty where it has none; a new one is open then."""
        blob, side = pack_list(self._chunk), pack_side(self._side)
        self.bytes += len(blob) + len(side)
        self.total += len(self._chunk)
        self._chunk, self._side, self._sizes = [], [], (0, 0)
        return blob, side

    def _close_chunk(self) -> None:
        if self._chunk:
            first = self.total
            blob, side = self._pack_chunk()
            self._pipe.hset(self._in, str(first), blob)
            self._pipe.zadd(self._starts, {str(first): first})
            if side:
                self._pipe.hset(self._side_key, str(first), side)
        # 16 chunks a round trip, fewer with sides: an fsync each would cost an upload seconds.
        if len(self._pipe) >= 32:
            self._send()

    def _send(self) -> None:
        for key in self._keys:
            self._pipe.expire(key, STAGE_TTL)
        with redis_errors():
            self._pipe.execute()

    def close(self) -> None:
        """Everything added is on the server when this returns."""
        self._close_chunk()
        if self.n_min is not None:
            self._pipe.set(self._needs_key, bytes(self._needs))
        buckets = [(f"#{bucket}", bytes(digests)) for bucket, digests in self._ids.items()]
        for at in range(0, len(buckets), BUCKETS_SENT):
            self._pipe.hset(self._in, mapping=dict(buckets[at : at + BUCKETS_SENT]))
            self._send()
        if len(self._pipe):
            self._send()

    @property
    def n_min(self) -> int | None:
        """Fewest slots an item takes, where they do not all take the same."""
        least = min(self._needs, default=1)
        return least if least < max(self._needs, default=1) else None

    def close_for_attach(self) -> None:
        """The same, but what fits into one chunk goes with the attach or append: a round trip, and
        a write to disk, less."""
        if self.total or not self._chunk or self.n_min is not None:
            self.close()
            return
        self.whole, self.whole_side = self._pack_chunk()
        places = ((bucket.to_bytes(2, "big"), digests) for bucket, digests in self._ids.items())
        self.whole_ids = b"".join(
            place + digests[at : at + DIGEST]
            for place, digests in places
            for at in range(0, len(digests), DIGEST)
        )

    def take(self, items: int, size: int, slots: tuple[int, int]) -> None:
        """What was staged without `add`, as a copy: so many items, their bytes as stored, and the
        fewest and most slots that one takes."""
        self.total, self.bytes, self._needs = items, size, bytearray(slots)

    def copy_of(self, other: Stage) -> None:
        """Be a copy of another stage that is closed, but for its place on the server and `prep`."""
        self.total, self.bytes, self._needs = other.total, other.bytes, other._needs
        self.whole, self.whole_side = other.whole, other.whole_side
        self.whole_ids = other.whole_ids

    @property
    def slots(self) -> tuple[int, int]:
        """The fewest and most that an item takes."""
        return min(self._needs, default=1), max(self._needs, default=1)

    def sent(self) -> dict[str, bytes | str]:
        """What goes with the attach or append, by the names of the scripts' arguments."""
        return {
            "whole": self.whole,
            "whole_side": self.whole_side,
            "whole_ids": self.whole_ids,
            "prep": json.dumps(self._prep_fields(), ensure_ascii=False) if self.prep else "",
        }

    @property
    def prep_bytes(self) -> int:
        """What `prep` and the job's output format take; `bytes` is without it."""
        prep = sum(len(value.encode()) for value in self._prep_fields().values())
        return prep + self.format_bytes

    def _prep_fields(self) -> dict[str, str]:
        return stored_prep(self.prep) if self.prep else {}

    @property
    def _keys(self) -> tuple[str, ...]:
        return self._in, self._starts, self._needs_key, self._side_key

    def discard(self) -> None:
        with redis_errors():
            self._client.unlink(*self._keys, keys.stage(self.id, "prep"))
