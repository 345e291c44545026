"""The quota of stored bytes as users meet it."""

from __future__ import annotations

import io
import os
from collections.abc import Callable

import pytest
from werkzeug.datastructures import FileStorage
from werkzeug.test import encode_multipart

from common.store import keys
from tests.support.cards import card
from tests.support.web import Answer, Web

MOST = 3000


@pytest.fixture
def small(make_web: Callable[..., Web]) -> Web:
    return make_web(max_stored_bytes=MOST)


def test_a_tenant_that_keeps_as_much_as_it_may_is_told_what_to_do(small: Web) -> None:
    job = small.submit("a b")
    small.services.redis.hset(keys.stored("acme"), "jobs", MOST)
    for answer in (
        small.post("/v1/jobs", json={"prompts": ["a"]}),
        small.post(f"/v1/jobs/{job}/items", json={"prompts": ["a"]}),
    ):
        assert (answer.status_code, answer.json["code"]) == (429, "storage_full")
        assert "delete some" in answer.json["detail"]
        assert "Retry-After" not in answer.headers
    upload = small.post(
        "/v1/files", data={"purpose": "batch", "file": (io.BytesIO(b"{}\n"), "a.jsonl")}
    )
    assert (upload.status_code, upload.json["error"]["code"]) == (429, "storage_full")
    assert upload.headers["X-Should-Retry"] == "false"
    assert small.services.redis.keys("pm:file:*") == []
    other = small.services.api_keys.create_key("other")
    assert small.post("/v1/jobs", key=other, json={"prompts": ["a"]}).status_code == 202
    small.worker().run()
    assert small.get(f"/v1/jobs/{job}").json["status"] == "completed", (
        "what was accepted is finished"
    )
    small.services.redis.hset(keys.stored("acme"), "jobs", 0)
    assert small.post("/v1/jobs", json={"prompts": ["a"]}).status_code == 202


def test_an_upload_that_is_too_much_is_refused_before_all_of_it_is_stored(
    make_web: Callable[..., Web],
) -> None:
    web = make_web(max_stored_bytes=3 * 2**20)
    answer = _upload(web, 20 * 2**20)
    assert (answer.status_code, answer.json["error"]["code"]) == (429, "storage_full")
    assert web.services.redis.keys("pm:file:*") == []
    assert _upload(web, 2 * 2**20).status_code == 200


def _upload(web: Web, size: int) -> Answer:
    boundary, body = encode_multipart(
        {"purpose": "batch", "file": FileStorage(io.BytesIO(os.urandom(size)), "a.jsonl")}
    )
    return web.post(
        "/v1/files", data=body, content_type=f"multipart/form-data; boundary={boundary}"
    )


def test_log_probabilities_are_reserved_by_how_many_alternatives_they_tell(web: Web) -> None:
    web.services.fleet.publish(card().model_copy(update={"engine": "native"}), b"")
    web.submit("a b")
    assert web.services.redis.hget(keys.queued(), "surplus") is None
    for given, least in (
        ({"logprobs": 0}, 20),
        ({"logprobs": 20}, 200),
        ({"prompt_logprobs": 5}, 50),
    ):
        before = int(web.services.redis.hget(keys.queued(), "surplus") or 0)
        web.submit("a b c d", params={"max_tokens": 10, "n": 2} | given)
        tokens = 4 if "prompt_logprobs" in given else 20
        assert int(web.services.redis.hget(keys.queued(), "surplus")) - before >= tokens * least
