"""Uploaded files: kept in compressed chunks until they expire, and read back as streams.

Knows Redis; nothing of what is in a file. A file is never held whole, neither on its way in nor
out.
"""

from __future__ import annotations

import io
import secrets
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from typing import IO, Any

import redis

from common.cooperate import give_way
from common.errors import NotFound, Unavailable, storage_full
from common.store import keys
from common.store.connection import redis_errors
from common.store.places import Place, pages, place_of
from common.store.records import Unreadable, as_text, readable, reading
from common.store.scripts import Scripts

CHUNK = 256 * 2**10  # bytes compressed together: what a reader holds, and some milliseconds of work
CHUNKS_SENT = 8  # in one round trip: an fsync each would cost a large file seconds
UPLOAD_TTL = 3600  # seconds the chunks of an unfinished upload are kept


@dataclass(frozen=True)
class StoredFile:
    """What is known of a file; `bytes` as they were uploaded, times in ms of the Redis server's
    clock."""

    id: str
    tenant: str
    filename: str
    purpose: str
    bytes: int
    created_at: int
    expires_at: int


class Files:
    """One per process; safe for threads."""

    def __init__(self, client: redis.Redis):
        self._client = client
        self._scripts = Scripts(client)

    def create(
        self,
        tenant: str,
        source: IO[bytes],
        *,
        filename: str,
        purpose: str,
        ttl: int,
        admit: Callable[[int], None],
        most: int = 0,
    ) -> StoredFile:
        """Store what `source` holds for `ttl` seconds. Durable when it returns.

        `admit` is asked before each write, with the bytes that will have been written, and raises
        when there is no room for them; nothing is left then. `most` is how many bytes the tenant
        may keep of jobs and files, 0 for no limit.

        Raises:
            StorageFull: it would keep more.
        """
        file_id = f"file-{secrets.token_hex(12)}"
        try:
            size, stored = self._write(keys.file(file_id, "data"), source, admit)
        except BaseException:
            # If Redis is away by then, its TTL removes it.
            with suppress(Unavailable), redis_errors():
                self._client.unlink(keys.file(file_id, "data"))
            raise
        fields = {"tenant": tenant, "filename": filename, "purpose": purpose, "bytes": size}
        flat = [part for pair in fields.items() for part in pair]
        with redis_errors():
            kept = self._scripts.keep_file(
                *flat, id=file_id, tenant=tenant, ttl=ttl, stored=stored, most=most
            )
        if not kept:
            raise storage_full(most)
        return self.get(file_id, tenant)

    def _write(self, key: str, source: IO[bytes], admit: Callable[[int], None]) -> tuple[int, int]:
        """Answers how many bytes there are, and how many they are as stored."""
        size, stored, number = 0, 0, 0
        # Place -> chunk: sent again after a lost reply, each is still there once.
        fields: dict[str, bytes] = {}
        while True:
            chunk = source.read(CHUNK)
            if chunk:
                fields[str(number)] = zlib.compress(chunk, 1)
                size, stored, number = (
                    size + len(chunk),
                    stored + len(fields[str(number)]),
                    number + 1,
                )
            if fields and (not chunk or len(fields) == CHUNKS_SENT):
                admit(stored)
                with redis_errors():
                    pipe = self._client.pipeline(transaction=False)
                    pipe.hset(key, mapping=fields)
                    pipe.expire(key, UPLOAD_TTL)
                    pipe.execute()
                fields = {}
            if not chunk:
                return size, stored
            give_way()

    def get(self, file_id: str, tenant: str) -> StoredFile:
        """Another tenant's file is not found, nor is one that has expired."""
        with redis_errors():
            raw = self._client.hgetall(keys.file(file_id))
        if not raw or raw.get(b"tenant") != tenant.encode():
            raise NotFound(
                f"no file {file_id[:80]!r}; it was never uploaded, has expired or was deleted"
            )
        with reading(file_id):
            return _stored(file_id, raw)

    def delete(self, file_id: str, tenant: str) -> None:
        with suppress(Unreadable):
            self.get(file_id, tenant)
        with redis_errors():
            self._scripts.forget_files(file_id, tenant=tenant)

    def verdict(self, file_id: str, endpoint: str) -> str | None:
        """What `keep_verdict` kept for this endpoint."""
        with redis_errors():
            found = self._client.hget(keys.file(file_id, "verdicts"), endpoint)
        return None if found is None else found.decode()

    def keep_verdict(self, file_id: str, endpoint: str, verdict: str) -> None:
        """Keep what the validation of a file came to, as long as the file."""
        with redis_errors():
            self._scripts.keep_verdict(file=file_id, endpoint=endpoint, verdict=verdict)

    def chunks(self, file_id: str) -> Iterator[bytes]:
        """The content in pieces. A file that is deleted meanwhile breaks off, so that no part
        passes for the whole.

        Raises:
            NotFound: from the first piece that is not there any more.
        """
        for number in range(self._count(file_id)):
            yield self._chunk(file_id, number)

    def open(self, file_id: str) -> IO[bytes]:
        """The content as a file to read from, in which one can seek. It is read from the store a
        chunk at a time, and breaks off as `chunks` does."""
        content = _Content(partial(self._chunk, file_id), self._count(file_id))
        return io.BufferedReader(content, CHUNK)

    def _count(self, file_id: str) -> int:
        with redis_errors():
            return int(self._client.hlen(keys.file(file_id, "data")))

    def _chunk(self, file_id: str, number: int) -> bytes:
        with redis_errors():
            blob = self._client.hget(keys.file(file_id, "data"), str(number))
        if blob is None:
            raise NotFound(f"file {file_id} was deleted while it was read")
        return zlib.decompress(blob)

    def place(self, file_id: str, tenant: str) -> Place:
        """Where a file is among its tenant's, or was until a day ago at most; else `NotFound`."""
        return place_of(self._client, keys.tenant_files(tenant), tenant, file_id)

    def walk(
        self, tenant: str, *, newest_first: bool, behind: Place | None = None, page: int = 100
    ) -> Iterator[StoredFile]:
        """A tenant's files in order of their creation, from behind a place on; read a page at a
        time."""
        line = keys.tenant_files(tenant)
        for ids in pages(self._client, line, newest_first=newest_first, behind=behind, page=page):
            with redis_errors():
                pipe = self._client.pipeline(transaction=False)
                for file_id in ids:
                    pipe.hgetall(keys.file(file_id))
                hashes = pipe.execute(raise_on_error=False)
            found = [(file_id, raw) for file_id, raw in zip(ids, hashes, strict=True) if raw]
            yield from readable(found, lambda pair: _stored(*pair), lambda pair: pair[0])
            if expired := [file_id for file_id, raw in zip(ids, hashes, strict=True) if not raw]:
                with redis_errors():
                    self._scripts.forget_files(*expired, tenant=tenant)


def _stored(file_id: str, raw: Any) -> StoredFile:
    about = as_text(raw)
    sizes = (int(about[name]) for name in ("bytes", "created_at", "expires_at"))
    return StoredFile(file_id, about["tenant"], about["filename"], about["purpose"], *sizes)


class _Content(io.RawIOBase):
    """A stored file's content; `chunk` gives each of its `count` chunks, of which all but the last
    have `CHUNK` bytes. The chunk that was read last is held."""

    def __init__(self, chunk: Callable[[int], bytes], count: int):
        self._chunk = chunk
        self._count = count
        self._held: tuple[int, memoryview] = (-1, memoryview(b""))
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = 0
        if whence != io.SEEK_SET:
            start = self._size if whence == io.SEEK_END else self._position
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        number, inside = divmod(self._position, CHUNK)
        if number >= self._count:
            return 0
        found = self._piece(number)[inside : inside + len(buffer)]
        buffer[: len(found)] = found
        self._position += len(found)
        return len(found)

    @cached_property
    def _size(self) -> int:
        last = self._count - 1
        return last * CHUNK + len(self._piece(last)) if self._count else 0

    def _piece(self, number: int) -> memoryview:
        if self._held[0] != number:
            self._held = number, memoryview(self._chunk(number))
        return self._held[1]
