"""Items with tools, on their way into the queue and out again; and what is none of it."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from tests.support.cards import card
from tests.support.web import Web

TEMPLATE = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
PARAMETERS = {
    "type": "object",
    "properties": {"town": {"type": "string"}, "day": {"type": "integer"}},
}
WEATHER = {"name": "weather", "parameters": PARAMETERS}
TOOLS: dict[str, Any] = {"functions": [WEATHER]}
STRICT = {"functions": [{**WEATHER, "strict": True}]}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"town": 1}'}}
NO_TEXT = {**CALL, "function": {"name": "weather", "arguments": {}}}
CHAT: list[dict[str, Any]] = [
    {"role": "user", "content": "How is it?"},
    {"role": "assistant", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "sunny \N{SUN}"},
]


@pytest.fixture(autouse=True)
def able(web: Web) -> None:
    made = card("able", chat_template=TEMPLATE, features=["structured_output"])
    web.services.fleet.publish(made, b"")


def send(web: Web, *items: Any, path: str = "/v1/jobs", **job: Any) -> Any:
    body = json.dumps({"model": "able", "items": items, **job})
    return web.post(path, data=body, content_type="application/json")


def test_an_item_with_tools_is_kept_shown_found_and_run_again(web: Web) -> None:
    item = {"messages": CHAT, "tools": {**TOOLS, "choice": "required"}}
    made = send(web, item)
    assert made.status_code == 202, made.text
    job = made.json["id"]
    (shown,) = web.get(f"/v1/jobs/{job}/items?include=prompt").json["data"]
    assert shown["tools"]["functions"][0]["name"] == "weather"
    assert list(shown["tools"]["functions"][0]["parameters"]["properties"]) == ["town", "day"]
    assert shown["messages"][1]["tool_calls"][0]["function"] == CALL["function"]
    assert "You may call functions" in shown["rendered"] and '"town": 1' in shown["rendered"]
    assert web.get(f"/v1/jobs/{job}/items?text=sunny").json["data"]
    assert not web.get(f"/v1/jobs/{job}/items?text=rainy").json["data"]
    again = web.post(f"/v1/jobs/{job}/rerun", json={"rows": "all"})
    assert again.status_code == 202, again.text
    (other,) = web.get(f"/v1/jobs/{again.json['id']}/items").json["data"]
    assert (other["tools"], other["messages"]) == (shown["tools"], shown["messages"])
    preview = send(web, item, path="/v1/jobs/preview")
    assert preview.json["rows"][0]["text"] == shown["rendered"]


def test_another_tenant_sees_none_of_it(web: Web) -> None:
    job = send(web, {"messages": CHAT, "tools": TOOLS}).json["id"]
    other = web.services.api_keys.create_key("other")
    assert web.get(f"/v1/jobs/{job}/items", key=other).status_code == 404


def changed(**fields: Any) -> dict[str, Any]:
    return {"messages": CHAT, "tools": copy.deepcopy(TOOLS) | fields}


def with_function(**fields: Any) -> dict[str, Any]:
    return changed(functions=[{"name": "f", **fields}])


def nested(depth: int) -> Any:
    found: Any = {"type": "object"}
    for _ in range(depth):
        found = {"type": "object", "properties": {"a": found}}
    return found


def told(*messages: Any) -> dict[str, Any]:
    return {"messages": [CHAT[0], *messages], "tools": TOOLS}


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no functions": (changed(functions=[]), "tools.functions"),
    "too many functions": (
        changed(functions=[{"name": f"f{n}"} for n in range(129)]),
        "tools.functions",
    ),
    "an empty name": (changed(functions=[{"name": ""}]), "tools.functions.0.name"),
    "a long name": (changed(functions=[{"name": "a" * 65}]), "tools.functions.0.name"),
    "a name with a quote": (changed(functions=[{"name": 'a"b'}]), "tools.functions.0.name"),
    "a name that ends its line": (changed(functions=[{"name": "a\n"}]), "tools.functions.0.name"),
    "a name twice": (changed(functions=[{"name": "a"}, {"name": "a"}]), "tools"),
    "parameters that are no object": (
        with_function(parameters={"type": "string"}),
        "tools.functions.0.parameters",
    ),
    "deep parameters": (with_function(parameters=nested(40)), "tools.functions.0.parameters"),
    "large parameters": (
        with_function(parameters={"type": "object", "title": "x" * 65_536}),
        "tools.functions.0.parameters",
    ),
    "a large description": (with_function(description="x" * 262_144), "tools"),
    "a choice of nothing": (changed(choice={"name": "other"}), "tools"),
    "an unknown field": (changed(functoins=[]), "tools.functoins"),
    "tools without a chat": ({"prompt": "a", "tools": TOOLS}, "tools"),
    "a result of no call": (told({"role": "tool", "content": "x"}), "messages.1.tool_call_id"),
    "a user that calls": (
        told({"role": "user", "content": "x", "tool_calls": [CALL]}),
        "messages.1.tool_calls",
    ),
    "an id of a user": (
        told({"role": "user", "content": "x", "tool_call_id": "c"}),
        "messages.1.tool_call_id",
    ),
    "a message of nothing": (told({"role": "assistant"}), "messages.1.content"),
    "no calls": (told({"role": "assistant", "tool_calls": []}), "messages.1.tool_calls"),
    "arguments that are no text": (
        told({"role": "assistant", "tool_calls": [NO_TEXT]}),
        "messages.1.tool_calls.0.function.arguments",
    ),
    "a strict function that is too much": (
        with_function(strict=True, parameters={"properties": {"a": {"not": {}}}}),
        "tools.functions.0.parameters",
    ),
    "an end of its own": (
        {**changed(choice="required"), "params": {"min_tokens": 1}},
        "params.min_tokens",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_is_refused_where_it_stands(web: Web, case: str) -> None:
    item, field = BAD[case]
    answer = send(web, item)
    assert answer.status_code == 422, answer.text
    (error,) = answer.json["errors"]
    assert str(error["field"]).startswith(f"items.0.{field}"), error
    assert web.job_keys() == []


def test_what_is_misspelt_is_told_the_right_name(web: Web) -> None:
    for item, right in (
        (changed(functons=[]), "functions"),
        (with_function(paramters={}), "parameters"),
        (told({"role": "assistant", "tool_calls": [{**CALL, "ids": "1"}]}), "id"),
    ):
        errors = send(web, item).json["errors"]
        assert any(f"did you mean {right}?" in error["message"] for error in errors), errors


HOSTILE = ("\x00", "{{ x }}", "{% raise %}", "=1+1", "</tool_response>", "e\u0301\u202e", "\n" * 99)


@pytest.mark.parametrize("text", HOSTILE)
def test_any_text_may_be_in_a_chat_with_tools(web: Web, text: str) -> None:
    call = {"id": text, "type": "function", "function": {"name": "f", "arguments": text}}
    chat = [
        {"role": "user", "content": text},
        {"role": "assistant", "content": text, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": text, "content": text},
    ]
    tools = {"functions": [{"name": "f", "description": text}]}
    answer = send(web, {"messages": chat, "tools": tools})
    assert answer.status_code == 202, answer.text
    (item,) = web.get(f"/v1/jobs/{answer.json['id']}/items?include=prompt").json["data"]
    assert item["messages"][0]["content"] == text and text in item["rendered"]


def test_an_engine_without_grammars_takes_tools_that_may_be_called_only(web: Web) -> None:
    web.services.fleet.publish(card("plain", chat_template=TEMPLATE), b"")
    asked = {"messages": CHAT[:1], "tools": TOOLS}
    assert send(web, asked, model="plain").status_code == 202
    for tools in ({**TOOLS, "choice": "required"}, STRICT):
        (error,) = send(web, {**asked, "tools": tools}, model="plain").json["errors"]
        assert (error["code"], error["field"]) == ("unsupported", "items.0.tools")
