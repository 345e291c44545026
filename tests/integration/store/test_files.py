"""Files: stored as they stream in, read back byte for byte, gone when their time is up."""

from __future__ import annotations

import io
import os
import tracemalloc
from collections.abc import Callable
from typing import IO, cast

import pytest

from common.errors import NotFound, Unavailable
from common.store import keys
from common.store.files import CHUNK, Files, StoredFile
from tests.support.store import Mill


@pytest.fixture
def files(mill: Mill) -> Files:
    return Files(mill.client)


def nothing(_stored: int) -> None:
    """Admits everything."""


def keep(
    files: Files,
    content: bytes | IO[bytes],
    tenant: str = "t",
    name: str = "a.jsonl",
    ttl: int = 3600,
) -> StoredFile:
    source = io.BytesIO(content) if isinstance(content, bytes) else content
    return files.create(tenant, source, filename=name, purpose="batch", ttl=ttl, admit=nothing)


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK * 9 + 17])
def test_a_file_comes_back_byte_for_byte(files: Files, size: int) -> None:
    content = os.urandom(size)
    kept = keep(files, content)
    assert kept.bytes == size
    assert b"".join(files.chunks(kept.id)) == content
    assert files.open(kept.id).read() == content


def test_lines_that_cross_chunks_stay_whole(files: Files) -> None:
    lines = [b"%d " % i + b"x" * (i % 5000) + b"\n" for i in range(2000)]
    kept = keep(files, b"".join(lines))
    assert list(files.open(kept.id)) == lines


def test_another_tenants_file_is_not_found(files: Files) -> None:
    kept = keep(files, b"secret")
    with pytest.raises(NotFound):
        files.get(kept.id, "other")
    with pytest.raises(NotFound):
        files.delete(kept.id, "other")
    assert list(files.walk("other", newest_first=True)) == []


def test_a_deleted_file_leaves_nothing_and_breaks_off_whoever_reads_it(
    files: Files, key_snapshot: Callable[[], set[str]]
) -> None:
    before = key_snapshot()
    kept = keep(files, os.urandom(CHUNK * 3))
    reading = files.chunks(kept.id)
    next(reading)
    files.delete(kept.id, "t")
    with pytest.raises(NotFound, match="deleted while it was read"):
        next(reading)
    assert key_snapshot() == before


def test_everything_of_a_file_expires_with_it(mill: Mill, files: Files) -> None:
    long, short = keep(files, b"x", ttl=9000), keep(files, b"x", ttl=4000)
    assert short.expires_at == short.created_at + 4_000_000
    for part in ("", "data"):
        assert 4590 < mill.client.ttl(keys.file(short.id, part)) <= 4600, (
            "by itself ten minutes after its time"
        )
    assert mill.client.ttl(keys.tenant_files("t")) > 8990, (
        "the list lives as long as the file that lives longest"
    )
    mill.client.delete(keys.file(short.id))
    assert [each.id for each in files.walk("t", newest_first=True)] == [long.id]
    assert mill.client.zrange(keys.tenant_files("t"), 0, -1) == [long.id.encode()]


def test_an_upload_that_is_not_admitted_leaves_nothing(
    files: Files, key_snapshot: Callable[[], set[str]]
) -> None:
    before, asked = key_snapshot(), []

    def admit(stored: int) -> None:
        asked.append(stored)
        if len(asked) == 3:
            raise Unavailable("full")

    with pytest.raises(Unavailable):
        files.create(
            "t",
            io.BytesIO(os.urandom(CHUNK * 40)),
            filename="a",
            purpose="batch",
            ttl=60,
            admit=admit,
        )
    assert key_snapshot() == before


def test_an_upload_that_is_cut_off_runs_out_by_itself(mill: Mill, files: Files) -> None:
    class Cut(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            found = list(mill.client.keys("pm:file:*"))
            if found:
                assert 0 < mill.client.ttl(found[0]) <= 3600
                raise OSError("the client hung up")
            return super().read(size)

    with pytest.raises(OSError, match="hung up"):
        keep(files, Cut(os.urandom(CHUNK * 20)))
    assert mill.client.keys("pm:file:*") == []


def test_files_are_walked_in_order_over_pages(mill: Mill, files: Files) -> None:
    made = [keep(files, b"x", name=f"{i}").id for i in range(7)]
    for at, file_id in enumerate(made):
        mill.client.zadd(keys.tenant_files("t"), {file_id: at})
    mill.client.delete(keys.file(made[2]))
    kept = [file_id for file_id in made if file_id != made[2]]
    assert [each.id for each in files.walk("t", newest_first=False, page=2)] == kept
    assert [each.id for each in files.walk("t", newest_first=True, behind=(6, ""), page=2)] == kept[
        :-1
    ][::-1]


def test_memory_stays_flat_however_large_a_file_is(files: Files) -> None:
    class Endless(io.RawIOBase):
        left = 64 * 2**20

        def read(self, size: int = -1) -> bytes:
            count = min(size, self.left)
            self.left -= count
            return b"abcdefgh" * (count // 8)

    tracemalloc.start()
    kept = keep(files, cast(IO[bytes], Endless()))
    assert sum(len(piece) for piece in files.chunks(kept.id)) == kept.bytes == 64 * 2**20
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 * 2**20


def test_a_reader_goes_to_any_place_of_a_file(files: Files) -> None:
    content = os.urandom(CHUNK * 3 + 17)
    reader = files.open(keep(files, content).id)
    for place in (CHUNK * 2 + 5, 0, CHUNK - 1, CHUNK * 3, len(content), len(content) + 9):
        assert reader.seek(place) == place
        assert reader.read(CHUNK + 3) == content[place : place + CHUNK + 3]
    assert reader.seek(-20, io.SEEK_END) == len(content) - 20
    assert reader.read() == content[-20:]
    empty = files.open(keep(files, b"").id)
    assert (empty.seek(0, io.SEEK_END), empty.read()) == (0, b"")
