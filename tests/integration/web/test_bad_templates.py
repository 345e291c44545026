"""What a chat template refuses, or breaks on, is told as a fault of its row."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.cards import card
from tests.support.web import Web


def refused(web: Web, body: Any, status: int = 422) -> dict:
    """The problem that a body meets; nothing of it is left in Redis."""
    options = (
        {"data": body, "content_type": "application/json"}
        if isinstance(body, bytes)
        else {"json": body}
    )
    answer = web.post("/v1/jobs", **options)
    assert answer.status_code == status, answer.text
    assert answer.content_type == "application/problem+json"
    assert web.job_keys() == []
    assert answer.json["request_id"] == answer.headers["X-Request-Id"]
    return answer.json


def test_what_the_template_refuses_is_told_in_its_words(web: Web) -> None:
    template = "{{ raise_exception('system first') }}"
    web.services.fleet.publish(card("chat", chat_template=template), b"")
    problem = refused(
        web, {"model": "chat", "items": [{"messages": [{"role": "user", "content": "a"}]}]}
    )
    assert "system first" in problem["detail"]


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'x' + messages[0].get('name') }}",
        "{{ 1 / 0 }}",
        "{% include 'x' %}",
        "{% for %}",
        "{{ '\\ud800' }}",
    ],
)
def test_whatever_a_template_raises_is_its_rows_fault(web: Web, template: str) -> None:
    source = "{% if messages[0].content == 'a' %}fine{% else %}" + template + "{% endif %}"
    web.services.fleet.publish(card("chat", chat_template=source), b"")
    items = [{"messages": [{"role": "user", "content": text}]} for text in "ab"]
    problem = refused(web, {"model": "chat", "items": items})
    assert {entry["code"] for entry in problem["errors"]} == {"chat_template_refused"}
    assert problem["errors"][-1]["field"] == "items.1.messages"


@pytest.mark.parametrize(
    ("kwargs", "why"),
    [
        ({"messages": []}, "must not have messages"),
        ({"tools": []}, "must not have tools"),
        ({"add_generation_prompt": False}, "must not have add_generation_prompt"),
        ({"chat_template": "{{ 1 }}"}, "must not have chat_template"),
        ({"a": "x" * 16_384}, "it may have 16,384"),
        ([1], "must be an object"),
    ],
)
def test_variables_of_a_chat_template_are_bounded_and_replace_nothing_of_ours(
    web: Web, kwargs: Any, why: str
) -> None:
    web.services.fleet.publish(card("chat", chat_template="{{ messages[0].content }}"), b"")
    item = {"messages": [{"role": "user", "content": "a"}]}
    for body, field in (
        ({"items": [item | {"chat_template_kwargs": kwargs}]}, "items.0.chat_template_kwargs"),
        ({"items": [item], "chat_template_kwargs": kwargs}, "chat_template_kwargs"),
    ):
        problem = refused(web, {"model": "chat", **body})
        assert (problem["errors"][0]["field"], why in problem["detail"]) == (field, True)


@pytest.mark.parametrize("item", [{"prompt": "a"}, {"prompt_ids": [1]}])
def test_variables_of_a_chat_template_are_refused_where_nothing_is_rendered(
    web: Web, item: dict[str, Any]
) -> None:
    for body in (
        {"items": [item | {"chat_template_kwargs": {"a": 1}}]},
        {"items": [item], "chat_template_kwargs": {"a": 1}},
    ):
        problem = refused(web, body)
        assert "for items with messages" in problem["detail"]
        assert problem["errors"][0]["field"] == "items.0.chat_template_kwargs"
