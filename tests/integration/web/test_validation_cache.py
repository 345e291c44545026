"""A file that was validated before is not read again for the next batch over it, as long as nothing
has changed."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from common.store.batches import job_of
from common.stored_item import StoredItem
from tests.support.cards import card
from tests.support.web import Web
from web.openai.batch_validator import BatchValidator


def upload(web: Web, *bodies: Any) -> str:
    lines = [
        {"custom_id": f"c{i}", "method": "POST", "url": "/v1/completions", "body": body}
        for i, body in enumerate(bodies)
    ]
    content = "\n".join(json.dumps(line) for line in lines).encode()
    return str(
        web.post(
            "/v1/files", data={"file": (io.BytesIO(content), "a.jsonl"), "purpose": "batch"}
        ).json["id"]
    )


def validated(
    web: Web, file: str, endpoint: str = "/v1/completions", window: str = "24h"
) -> dict[str, Any]:
    asked = {"input_file_id": file, "endpoint": endpoint, "completion_window": window}
    batch = web.post("/v1/batches", json=asked).json["id"]
    assert BatchValidator(web.services).validate_due()
    return dict(web.get(f"/v1/batches/{batch}").json)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Files, as they are read."""
    from common.store.files import Files

    found: list[str] = []
    read = Files._chunk

    def chunk(self: Files, file_id: str, number: int) -> bytes:
        found.append(file_id)
        return read(self, file_id, number)

    monkeypatch.setattr(Files, "_chunk", chunk)
    return found


@pytest.mark.parametrize(
    "bodies", [({"model": "echo", "prompt": "a"}, {"model": "other"}), ({"prompt": "a"},), ()]
)
def test_what_is_wrong_with_a_file_is_told_again_unread(
    make_web: Callable[..., Web], reads: list[str], bodies: Any
) -> None:
    web = make_web()
    file = upload(web, *bodies)
    first = validated(web, file)
    assert first["status"] == "failed"
    assert reads or not bodies  # an empty file has no chunk to read
    del reads[:]
    again = validated(web, file)
    assert (again["status"], again["errors"]) == ("failed", first["errors"]) and first["errors"][
        "data"
    ]
    assert reads == []
    assert (
        0
        < web.services.redis.ttl(f"pm:file:{file}:verdicts")
        <= web.services.redis.ttl(f"pm:file:{file}")
    )
    validated(web, file, "/v1/chat/completions")
    assert reads or not bodies, "for another endpoint other things are wrong"
    web.call("DELETE", f"/v1/files/{file}")
    assert not web.services.redis.exists(f"pm:file:{file}:verdicts")


def test_a_verdict_holds_for_its_settings_only(make_web: Callable[..., Web]) -> None:
    web = make_web(max_items=2)
    file = upload(web, *[{"model": "echo", "prompt": "a"}] * 3)
    assert validated(web, file)["errors"]["data"][0]["code"] == "too_many_tasks"
    larger = make_web(max_items=3)
    assert validated(larger, file)["status"] == "in_progress"


def test_what_is_wrong_with_the_batch_or_the_server_is_no_verdict(
    make_web: Callable[..., Web],
) -> None:
    web = make_web()
    file = upload(web, {"model": "unknown", "prompt": "a"})
    assert validated(web, file)["errors"]["data"][0]["code"] == "model_not_found"
    full = make_web(max_queued_items=1)
    two = upload(full, *[{"model": "echo", "prompt": "a"}] * 2)
    assert validated(full, two)["errors"]["data"][0]["code"] == "too_many_queued"
    assert full.services.redis.keys("pm:file:*:verdicts") == []


def lines_of(web: Web, batch: str) -> list[StoredItem]:
    """What of a job's items does not differ from job to job."""
    job_id = job_of(batch)
    total = web.services.store.job(job_id).total
    return web.services.store.items(job_id, 0, total)


GOOD = [{"model": "echo", "prompt": f"a {i}", "n": 1 + i % 2, "max_tokens": 3} for i in range(150)]
SAME = (
    "total",
    "cost",
    "n_max",
    "n_min",
    "size",
    "weight",
    "indexed",
    "digest",
    "streams",
    "pending",
)


def test_a_good_file_makes_another_job_unread(
    make_web: Callable[..., Web], reads: list[str]
) -> None:
    web = make_web()
    file = upload(web, *GOOD, {"model": "echo", "prompt": "a", "temperature": -1})
    first = validated(web, file)
    del reads[:]
    again = validated(web, file, window="1h")
    assert (again["status"], reads) == ("in_progress", [])
    jobs = [web.services.store.job(job_of(batch["id"])) for batch in (first, again)]
    assert [getattr(jobs[0], name) for name in SAME] == [getattr(jobs[1], name) for name in SAME]
    assert (jobs[0].deadline or 0) > (jobs[1].deadline or 0)
    assert lines_of(web, first["id"]) == lines_of(web, again["id"])
    web.services.store.delete(job_of(first["id"]))
    worker = web.worker()
    while web.services.store.job(job_of(again["id"])).status != "completed":
        worker.run(8)
    assert web.get(f"/v1/batches/{again['id']}").json["request_counts"]["total"] == 151


@pytest.mark.parametrize("change", ["deleted", "appended", "ended", "day", "settings", "card"])
def test_a_good_file_is_read_again_where_its_job_or_what_it_depends_on_is_another(
    make_web: Callable[..., Web], reads: list[str], monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    web = make_web()
    file = upload(web, *GOOD)
    job_id = job_of(validated(web, file)["id"])
    if change == "deleted":
        web.services.store.delete(job_id)
    elif change == "appended":
        assert (
            web.post(f"/v1/jobs/{job_id}/items", json={"items": [{"prompt": "more"}]}).status_code
            == 202
        )
    elif change == "ended":  # the slots of its items are not kept
        web.post(f"/v1/jobs/{job_id}/cancel")
    elif change == "day":
        later = time.time() + 86400
        monkeypatch.setattr("web.openai.validation_cache.time.time", lambda: later)
    elif change == "settings":
        web = make_web(max_item_tokens=1000)
    else:
        web.services.fleet.publish(card(context=90), b"")
        web = make_web()
        web.services.fleet.publish(card(context=90), b"")
    del reads[:]
    again = validated(web, file)
    assert again["status"] == "in_progress" and reads
    assert len(lines_of(web, again["id"])) == len(GOOD)
