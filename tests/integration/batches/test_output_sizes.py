"""Sizes of a batch's files: counted while it runs, so that listing them reads no results."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

from common.errors import NotFound
from common.settings import Settings
from common.store.batches import job_of
from tests.support.web import Web
from web.openai.batch_validator import BatchValidator
from web.openai.output_sizes import OutputSizer

ITEMS = 300


@pytest.fixture
def web(redis_url: str) -> Iterator[Web]:
    web = Web(Settings.load(redis_url=redis_url))
    yield web
    web.services.watches.close()
    web.services.redis.close()


def start_batch(web: Web) -> str:
    """A batch of 300 requests, of which every tenth cannot be run."""
    lines = [
        {"custom_id": f"c{i}", "method": "POST", "url": "/v1/completions",
         "body": {"model": "echo", "prompt": "one two", "temperature": -1 if i % 10 == 0 else 1}}
        for i in range(ITEMS)
    ]  # fmt: skip
    content = "\n".join(json.dumps(line) for line in lines).encode()
    file = web.post(
        "/v1/files", data={"file": (io.BytesIO(content), "a.jsonl"), "purpose": "batch"}
    ).json["id"]
    asked = {"input_file_id": file, "endpoint": "/v1/completions", "completion_window": "24h"}
    batch = str(web.post("/v1/batches", json=asked).json["id"])
    assert BatchValidator(web.services).validate_due()
    return batch


def finish(web: Web, batch: str) -> None:
    worker = web.worker()
    while web.services.store.job(job_of(batch)).status != "completed":
        worker.run(64)


def listed(web: Web) -> dict[str, dict[str, Any]]:
    files = web.get("/v1/files").json["data"]
    return {file["id"]: file for file in files if file["purpose"] == "batch_output"}


def check_sizes(web: Web) -> None:
    files = listed(web)
    assert len(files) in (1, 2)
    for name, file in files.items():
        content = web.get(f"/v1/files/{name}/content").data
        assert (file["status"], file["bytes"]) == ("processed", len(content))


def due(web: Web) -> None:
    """Let the time until the next measuring pass."""
    for line in web.services.redis.keys("pm:batches:sizing:*"):
        web.services.redis.zadd(line, dict.fromkeys(web.services.redis.zrange(line, 0, -1), 0))


def test_files_are_measured_while_they_grow_and_then_listed_unread(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, sizer = start_batch(web), OutputSizer(web.services)
    worker = web.worker()
    for _ in range(20):
        worker.run(8)
    assert sizer.measure_due()
    sized = web.services.batches.get(batch).sized
    assert 100 < sized < ITEMS
    assert not sizer.measure_due(), "not again at once"
    finish(web, batch)
    due(web)
    assert sizer.measure_due()
    due(web)
    assert not sizer.measure_due(), "what is whole is measured once"
    check_sizes(web)

    def read(*_: Any) -> Any:
        raise AssertionError("results were read for a list of files")

    monkeypatch.setattr(web.services.store, "answers", read)
    assert all(file["bytes"] > 0 for file in listed(web).values())


def test_files_that_nobody_measured_yet_are_when_they_are_listed(web: Web) -> None:
    finish(web, start_batch(web))
    check_sizes(web)


def test_a_size_that_an_earlier_version_counted_stays(web: Web) -> None:
    batch = start_batch(web)
    finish(web, batch)
    web.services.batches.note(batch, output_bytes=7)
    assert sorted(file["bytes"] for file in listed(web).values())[0] == 7


def test_items_that_never_ran_are_in_the_size_of_the_error_file(web: Web) -> None:
    batch, worker = start_batch(web), web.worker()
    for _ in range(5):
        worker.run(8)
    OutputSizer(web.services).measure_due()
    assert web.post(f"/v1/batches/{batch}/cancel").status_code == 200
    check_sizes(web)


def test_a_batch_that_is_deleted_is_measured_no_more(web: Web) -> None:
    batch, sizer = start_batch(web), OutputSizer(web.services)
    web.services.store.delete(job_of(batch))
    with pytest.raises(NotFound):
        web.services.batches.get(batch)
    assert not sizer.measure_due()
    assert not web.services.redis.keys("pm:batches:*")
