"""What a web tier of today submits while workers of the version before are still running."""

from __future__ import annotations

from typing import Any

import pytest

from common.stored_item import ITEM_FIELDS
from tests.support.web import Web

# What a worker of the store's schema 3 knows of an item; it refuses an item with any other field.
KNOWN = {
    *("custom_id", "prompt", "prompt_ids", "messages", "params", "chat_template_kwargs"),
    *("stream", "metadata", "refused", "ask"),
}


@pytest.mark.parametrize(
    "job",
    [
        {"template": {"prompt": "say {{a}}"}, "items": [{"vars": {"a": "b"}}]},
        {"template": {"prompt": "say"}, "items": [{"vars": {}}]},
        {"clean": ["whitespace"], "prompts": ["a  b"]},
        {"truncate": {"to": 1}, "prompts": ["a b"]},
    ],
)
def test_items_that_workers_of_schema_3_cannot_prepare_are_refused_by_them(
    web: Web, job: dict[str, Any]
) -> None:
    answer = web.post("/v1/jobs", json=job)
    assert answer.status_code == 202, answer.text
    fields = set(web.services.store.items(answer.json["id"], 0, 1)[0])
    assert fields - KNOWN
    assert fields <= ITEM_FIELDS


def test_items_that_need_no_preparation_run_on_workers_of_schema_3(web: Web) -> None:
    """Also where max_tokens had to fit, and where there are columns and references beside them."""
    items = [
        {"prompt": "a b", "vars": {"x": 1}, "reference": "y", "custom_id": "z"},
        {"prompt_ids": [0, 1], "metadata": {"k": 1}, "params": {"top_k": 5}},
    ]
    answer = web.post("/v1/jobs", json={"items": items})
    stored = web.services.store.items(answer.json["id"], 0, 2)
    assert set().union(*stored) <= KNOWN
    assert stored[0]["params"]["max_tokens"] < 256
