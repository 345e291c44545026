"""Null means that a key was not given, but in an edit, where it takes away, and inside values of
your own."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.cards import card
from tests.support.web import Web

TEMPLATE = "{% for m in messages %}{{ m.content }} {{ mark }}{% endfor %}"


@pytest.mark.parametrize(
    "fields",
    [
        dict.fromkeys(("model", "params", "webhook", "priority", "deadline", "metadata", "limits")),
        {"chat_template_kwargs": None, "items": None},
        {
            "params": {
                "temperature": None,
                "stop": None,
                "seed": None,
                "logit_bias": None,
                "max_tokens": None,
            }
        },
        {"limits": {"tokens": None, "error_rate": None}},
        {"webhook": {"url": "https://x.example", "secret": None, "events": None}},
    ],
)
def test_null_fields_of_a_job_are_not_given(web: Web, fields: dict[str, Any]) -> None:
    plain = {"prompts": ["one two"]} | {
        name: value for name, value in fields.items() if name == "webhook" and value
    }
    if "webhook" in plain:
        plain["webhook"] = {"url": "https://x.example"}
    made, same = (
        web.post("/v1/jobs", json=body) for body in ({"prompts": ["one two"]} | fields, plain)
    )
    assert (made.status_code, same.status_code) == (202, 202), made.text
    for name in ("params", "priority", "metadata", "limits", "webhook", "deadline"):
        assert made.json[name] == same.json[name]


def test_null_fields_of_items_leave_what_the_job_says(web: Web) -> None:
    item = {
        "prompt": "one",
        "messages": None,
        "prompt_ids": None,
        "custom_id": None,
        "stream": None,
        "metadata": None,
    }
    params = {"seed": None, "temperature": None, "stop": None}
    body = {
        "items": [item | {"params": None}, item | {"params": params}],
        "params": {"seed": 5, "stop": "x"},
    }
    made = web.post("/v1/jobs", json=body)
    assert made.status_code == 202, made.text
    for kept in web.services.store.items(made.json["id"], 0, 2):
        assert not {"seed", "stop", "temperature"} & kept.get("params", {}).keys()


def test_null_keys_of_messages_are_not_given_and_those_of_a_template_are_the_templates_own(
    web: Web,
) -> None:
    web.services.fleet.publish(card(chat_template=TEMPLATE, digest="digest-chat"), b"")
    message = {"role": "user", "content": "one", "name": None, "tool_calls": None}
    made = web.post(
        "/v1/jobs",
        json={"items": [{"messages": [message], "chat_template_kwargs": {"mark": None}}]},
    )
    assert made.status_code == 202, made.text
    (row,) = web.get(f"/v1/jobs/{made.json['id']}/items").json["data"]
    assert row["messages"] == [{"role": "user", "content": "one"}]
    assert row["chat_template_kwargs"] == {"mark": None}


def test_null_inside_metadata_stays(web: Web) -> None:
    made = web.post(
        "/v1/jobs",
        json={"items": [{"prompt": "one", "metadata": {"a": None}}], "metadata": {"b": None}},
    )
    assert made.json["metadata"] == {"b": None}
    assert web.get(f"/v1/jobs/{made.json['id']}/items").json["data"][0]["metadata"] == {"a": None}


def test_null_in_lines_and_in_the_part_job_is_not_given(web: Web) -> None:
    line = json.dumps({"prompt": "one", "params": {"max_tokens": None}, "custom_id": None})
    made = web.upload(
        "a.jsonl", line.encode(), prompt_column=None, params={"seed": None}, priority=None
    )
    assert made.status_code == 202, made.text


@pytest.mark.parametrize(
    ("edit", "left"),
    [
        ({"priority": None}, {"priority": 0}),
        ({"deadline": None}, {"deadline": None}),
        ({"limits": {"tokens": None}}, {"limits": {"tokens": None, "error_rate": 0.5}}),
        ({"limits": None}, {"limits": {"tokens": None, "error_rate": None}}),
    ],
)
def test_null_in_an_edit_takes_away(web: Web, edit: dict[str, Any], left: dict[str, Any]) -> None:
    job = web.submit("one", priority=5, deadline=3600, limits={"tokens": 1000, "error_rate": 0.5})
    before = web.get(f"/v1/jobs/{job}").json
    after = web.call("PATCH", f"/v1/jobs/{job}", json=edit)
    assert after.status_code == 200, after.text
    names = ("priority", "deadline", "limits")
    assert {name: after.json[name] for name in names} == {
        name: before[name] for name in names
    } | left
