"""Files through the official client: stored and read back as they are, listed together with what
came of batches."""

from __future__ import annotations

import io
import os
from typing import Any

import openai
import psutil
import pytest

from tests.support.batches import BatchUser, chat, jsonl
from tests.support.waiting import wait_until

LARGE = 200_000_000  # bytes


def test_a_file_comes_back_as_it_was(running: BatchUser) -> None:
    content = os.urandom(700_000)
    made = running.client.files.create(file=("odd name ü.jsonl", content), purpose="batch")
    assert (made.object, made.bytes, made.filename, made.purpose) == (
        "file",
        700_000,
        "odd name ü.jsonl",
        "batch",
    )
    assert made.status == "processed" and made.expires_at == made.created_at + 30 * 86400
    assert running.client.files.retrieve(made.id) == made
    assert running.client.files.content(made.id).read() == content


def test_a_file_expires_when_it_was_told_to(running: BatchUser) -> None:
    made = running.client.files.create(
        file=("a.jsonl", b"{}"),
        purpose="batch",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    assert made.expires_at == made.created_at + 3600
    # A tick removes it; the server, should none run.
    assert 3590 < running.redis.ttl(f"pm:file:{made.id}") <= 4200


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"purpose": "fine-tune"}, "purpose"),
        ({"expires_after": {"anchor": "created_at", "seconds": 60}}, "expires_after.seconds"),
        ({"expires_after": {"anchor": "last_used_at", "seconds": 3600}}, "expires_after.anchor"),
        ({"expires_after": {"anchor": "created_at"}}, "expires_after.seconds"),
        ({"extra_body": {"colour": "red"}}, "colour"),
    ],
)
def test_what_a_file_may_not_say_is_named(running: BatchUser, options: dict, param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        running.client.files.create(**{"file": ("a.jsonl", b"{}"), "purpose": "batch"} | options)
    assert refused.value.param == param


def test_a_deleted_file_is_gone(running: BatchUser) -> None:
    made = running.upload([chat("a", "x")])
    gone = running.client.files.delete(made)
    assert (gone.id, gone.object, gone.deleted) == (made, "file", True)
    for call in (
        running.client.files.retrieve,
        running.client.files.content,
        running.client.files.delete,
    ):
        with pytest.raises(openai.NotFoundError):
            call(made)


def test_another_tenants_file_is_not_found(running: BatchUser) -> None:
    made, other = running.upload([chat("a", "x")]), running.client_of("other")
    for call in (other.files.retrieve, other.files.content, other.files.delete):
        with pytest.raises(openai.NotFoundError):
            call(made)


def test_uploads_and_output_are_listed_together_in_order(running: BatchUser) -> None:
    client = running.client_of("files")
    made = [
        running.upload([chat("a", "x"), chat("b", "x", temperature=-1)], client) for _ in range(3)
    ]
    batch = client.batches.create(
        input_file_id=made[0], endpoint="/v1/chat/completions", completion_window="24h"
    )
    done = wait_until(
        lambda: found if (found := client.batches.retrieve(batch.id)).completed_at else None
    )
    output = [done.output_file_id, done.error_file_id]
    listed = [file.id for file in client.files.list()]
    assert set(listed[:2]) == set(output) and listed[2:] == made[::-1]
    assert [file.id for file in client.files.list(order="asc")][:3] == made
    assert {file.id for file in client.files.list(purpose="batch_output")} == set(output)
    assert [file.id for file in client.files.list(purpose="batch", limit=1)] == made[::-1], (
        "the client pages by itself"
    )
    page = client.files.list(limit=2)
    assert page.has_more and len(page.data) == 2
    assert [file.id for file in client.files.list(limit=2)] == listed


def test_an_output_file_says_its_size_and_can_be_deleted(running: BatchUser) -> None:
    done = running.run([chat("a", "x"), chat("b", "x", temperature=-1)])
    for kind, file_id in (("output", done.output_file_id), ("error", done.error_file_id)):
        assert file_id
        file = running.client.files.retrieve(file_id)
        assert file.bytes == len(running.client.files.content(file_id).read()) > 0
        assert (file.purpose, file.status, file.filename) == (
            "batch_output",
            "processed",
            f"{done.id}_{kind}.jsonl",
        )
        assert (
            file.expires_at
            and done.completed_at
            and file.expires_at >= done.completed_at + 6 * 86400
        )
        assert running.client.files.delete(file_id).deleted
        with pytest.raises(openai.NotFoundError):
            running.client.files.content(file_id)
    assert running.client.batches.retrieve(done.id).status == "completed"


def test_output_expires_when_the_batch_was_told_so(running: BatchUser) -> None:
    batch = running.submit(
        [chat("a", "x")], output_expires_after={"anchor": "created_at", "seconds": 3600}
    )
    done = running.wait(batch)
    file = running.client.files.retrieve(str(done.output_file_id))
    assert (
        done.completed_at
        and file.expires_at
        and abs(file.expires_at - done.completed_at - 3600) <= 1
    )
    running.redis.hset(f"pm:batch:{batch.id}", "output_ttl", 0)
    with pytest.raises(openai.NotFoundError):
        running.client.files.content(file.id)


def test_a_server_whose_memory_is_spoken_for_takes_no_file_and_keeps_nothing_of_it(
    running: BatchUser,
) -> None:
    before = running.redis.keys("pm:file:*")
    running.redis.config_set("maxmemory", running.redis.info("memory")["used_memory"])
    try:
        with pytest.raises(openai.InternalServerError) as refused:
            running.upload(os.urandom(100_000))
    finally:
        running.redis.config_set("maxmemory", 0)
    assert (refused.value.status_code, refused.value.code) == (503, "server_full")
    assert running.redis.keys("pm:file:*") == before


class Large(io.RawIOBase):
    """A file of 200 MB that nobody holds."""

    def __init__(self) -> None:
        self._at = 0
        self._block = jsonl([chat("a", "word " * 40)] * 400) + b"\n"
        self.name = "large.jsonl"

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = {0: 0, 1: self._at, 2: LARGE}[whence] + offset
        return self._at

    def readinto(self, into: Any) -> int:
        buffer = memoryview(into)
        begin = self._at % len(self._block)
        piece = self._block[begin : begin + min(len(buffer), LARGE - self._at)]
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)


def test_a_file_of_200_mb_streams_in_and_out_with_memory_flat(running: BatchUser) -> None:
    (web,) = psutil.Process(running.web_process.pid).children()
    before = web.memory_info().rss
    made = running.client.files.create(
        file=("large.jsonl", io.BufferedReader(Large())), purpose="batch"
    )
    assert made.bytes == LARGE
    read = 0
    with running.client.files.with_streaming_response.content(made.id) as answer:
        for piece in answer.iter_bytes(2**20):
            read += len(piece)
    assert read == LARGE
    assert web.memory_info().rss - before < 40 * 2**20
    running.client.files.delete(made.id)
