"""How much metadata may be kept, and lists of what earlier versions kept more of."""

from __future__ import annotations

import json
from typing import Any

import pytest

from common.store import keys
from tests.support.web import Web
from web.openai.read_request import read_request
from web.openai.requests import ChatRequest

JOB = {"prompts": ["one two"]}
WITHIN = {f"{i:04}": "x" * 1020 for i in range(16)}  # 16,384 characters
CHAT = {"model": "echo", "messages": [{"role": "user", "content": "hi"}]}


def test_a_job_may_have_16_kib_of_metadata_and_no_more(web: Web) -> None:
    assert web.post("/v1/jobs", json=JOB | {"metadata": WITHIN}).json["metadata"] == WITHIN
    for more in (WITHIN | {"0000": "x" * 1021}, {"a": "x" * 200_000}, {"x" * 200_000: 1}):
        refused = web.post("/v1/jobs", json=JOB | {"metadata": more})
        assert (refused.status_code, refused.json["errors"][0]["field"]) == (422, "metadata"), (
            refused.text[:500]
        )
        assert "it may have 16,384" in refused.json["detail"]
    assert web.post("/v1/jobs", json=JOB | {"metadata": {"a": "x" * 15_000_000}}).status_code == 413


def test_an_item_may_have_64_kib_of_metadata_and_no_more(web: Web) -> None:
    item = {"prompt": "one", "metadata": {"a": "x" * 65_535}}
    assert web.post("/v1/jobs", json={"items": [item]}).status_code == 202
    refused = web.post(
        "/v1/jobs", json={"items": [item, {"prompt": "one", "metadata": {"a": "x" * 65_536}}]}
    )
    assert (refused.status_code, refused.json["errors"][0]["field"]) == (422, "items.1.metadata")
    table = b"prompt,document\nsay it," + b"x" * 60_000 + b"\n"
    assert web.upload("a.csv", table).status_code == 202


@pytest.mark.parametrize(
    "metadata", [{"n" * 64: "x" * 512}, {str(i): "x" * 512 for i in range(16)}]
)
def test_a_chat_may_have_metadata_as_openai_bounds_it(metadata: dict[str, Any]) -> None:
    request = read_request("/v1/chat/completions", CHAT | {"metadata": metadata})
    assert isinstance(request, ChatRequest)
    assert request.metadata == metadata


@pytest.mark.parametrize("metadata", [{"n" * 65: "x"}, {"n": "x" * 513}])
def test_a_chat_with_longer_metadata_is_refused_with_its_place(
    web: Web, metadata: dict[str, Any]
) -> None:
    refused = web.post("/v1/chat/completions", json=CHAT | {"metadata": metadata})
    assert refused.status_code in (400, 422)
    assert refused.json["error"]["param"].startswith("metadata")
    assert "characters" in refused.json["error"]["message"]


def test_large_metadata_of_an_earlier_version_stays_readable_in_short_pages(web: Web) -> None:
    ids = [web.submit(metadata={"name": "n"}) for _ in range(5)]
    for job in ids:
        spec = web.services.store.job(job).spec | {"metadata": {"name": "x" * 3 * 2**20}}
        web.services.redis.hset(keys.job(job), "spec", json.dumps(spec))
    found, after, pages = [], None, 0
    while pages == 0 or after:
        answer = web.get("/v1/jobs", query_string={"after": after} if after else {})
        assert len(answer.data) < 5 * 2**20
        found += [job["id"] for job in answer.json["data"]]
        after, pages = answer.json["after"], pages + 1
        assert answer.json["has_more"] == bool(after)
    assert (found, pages) == (ids[::-1], 5)
    first = ids[0]
    assert web.post(f"/v1/jobs/{first}/items", json={"prompts": ["more"]}).status_code == 202
    web.worker().run(room=64, error="engine_error")
    refused = web.post(f"/v1/jobs/{first}/retry")
    assert (refused.status_code, refused.json["errors"][0]["field"]) == (422, "metadata")


def test_a_page_of_items_ends_before_it_has_too_many_bytes(web: Web) -> None:
    job = web.post(
        "/v1/jobs",
        json={"items": [{"prompt": "p", "metadata": {"a": "x" * 65_000}} for _ in range(150)]},
    )
    found: list[int] = []
    after: int | None = -1
    pages = 0
    while after is not None:
        answer = web.get(
            f"/v1/jobs/{job.json['id']}/items", query_string={"after": after, "limit": 1000}
        )
        assert len(answer.data) < 4.5 * 2**20
        found += [row["index"] for row in answer.json["data"]]
        after, pages = answer.json["after"], pages + 1
    assert found == list(range(150))
    assert pages == 3
