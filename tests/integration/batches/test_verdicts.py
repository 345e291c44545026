"""A file that was found to be wrong is not read again for the next batch over it, as long as nothing has changed."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from common.settings import Settings
from tests.integration.web.conftest import Web
from web.dialect.validator import Validator


@pytest.fixture
def make_web(redis_url: str) -> Iterator[Callable[..., Web]]:
    made: list[Web] = []

    def make(**settings: Any) -> Web:
        made.append(Web(Settings.load(redis_url=redis_url, **settings)))
        return made[-1]

    yield make
    for web in made:
        web.services.changes.close()
        web.services.redis.close()


def upload(web: Web, *bodies: Any) -> str:
    lines = [
        {"custom_id": f"c{i}", "method": "POST", "url": "/v1/completions", "body": body}
        for i, body in enumerate(bodies)
    ]
    content = "\n".join(json.dumps(line) for line in lines).encode()
    return str(web.post("/v1/files", data={"file": (io.BytesIO(content), "a.jsonl"), "purpose": "batch"}).json["id"])


def validated(web: Web, file: str, endpoint: str = "/v1/completions", window: str = "24h") -> dict[str, Any]:
    asked = {"input_file_id": file, "endpoint": endpoint, "completion_window": window}
    batch = web.post("/v1/batches", json=asked).json["id"]
    assert Validator(web.services).validate_due()
    return dict(web.get(f"/v1/batches/{batch}").json)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Files, as they are read."""
    from common.files import Files

    found: list[str] = []
    read = Files.open
    monkeypatch.setattr(Files, "open", lambda self, file_id: found.append(file_id) or read(self, file_id))
    return found


@pytest.mark.parametrize("bodies", [({"model": "echo", "prompt": "a"}, {"model": "other"}), ({"prompt": "a"},), ()])
def test_what_is_wrong_with_a_file_is_told_again_unread(
    make_web: Callable[..., Web], reads: list[str], bodies: Any
) -> None:
    web = make_web()
    file = upload(web, *bodies)
    first = validated(web, file)
    assert first["status"] == "failed" and reads
    del reads[:]
    again = validated(web, file)
    assert (again["status"], again["errors"]) == ("failed", first["errors"]) and first["errors"]["data"]
    assert reads == []
    assert 0 < web.services.redis.ttl(f"pm:file:{file}:verdicts") <= web.services.redis.ttl(f"pm:file:{file}")
    validated(web, file, "/v1/chat/completions")
    assert reads, "for another endpoint other things are wrong"
    web.call("DELETE", f"/v1/files/{file}")
    assert not web.services.redis.exists(f"pm:file:{file}:verdicts")


def test_a_verdict_holds_for_its_settings_only(make_web: Callable[..., Web]) -> None:
    web = make_web(max_items=2)
    file = upload(web, *[{"model": "echo", "prompt": "a"}] * 3)
    assert validated(web, file)["errors"]["data"][0]["code"] == "too_many_tasks"
    larger = make_web(max_items=3)
    assert validated(larger, file)["status"] == "in_progress"


def test_what_is_wrong_with_the_batch_or_the_server_is_no_verdict(make_web: Callable[..., Web]) -> None:
    web = make_web()
    file = upload(web, {"model": "unknown", "prompt": "a"})
    assert validated(web, file)["errors"]["data"][0]["code"] == "model_not_found"
    full = make_web(max_queued_items=1)
    two = upload(full, *[{"model": "echo", "prompt": "a"}] * 2)
    assert validated(full, two)["errors"]["data"][0]["code"] == "too_many_queued"
    assert full.services.redis.keys("pm:file:*:verdicts") == []
