"""`params.output` on its way into the queue: what is refused, by name, and what is stored."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.cards import card
from tests.support.web import Web

SCHEMA = {"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "integer"}}}
CHOICE = {"choice": ["yes", "no"]}


@pytest.fixture(autouse=True)
def able(web: Web) -> None:
    """A model whose engine has structured output, beside `echo`."""
    able = card("able", engine="native", features=["structured_output"])
    web.services.fleet.publish(able, b"")


def send(web: Web, path: str = "/v1/jobs", **job: Any) -> Any:
    body = {"model": "able"} | ({} if "items" in job else {"prompts": ["a"]}) | job
    # Flask's client would sort the keys.
    return web.post(path, data=json.dumps(body), content_type="application/json")


def errors(answer: Any) -> list[tuple[str, str]]:
    assert answer.status_code == 422, answer.text
    return [(error["code"], error["field"]) for error in answer.json["errors"]]


@pytest.mark.parametrize(
    "output",
    [
        {"json_schema": SCHEMA},
        {"json": True},
        {"regex": "[a-z]+"},
        CHOICE,
        {"grammar": 'start: "a" | "b"'},
        {"text": True},
    ],
)
def test_each_format_is_accepted_and_shown_as_it_was_given(web: Web, output: Any) -> None:
    answer = send(web, params={"output": output})
    assert answer.status_code == 202, answer.text
    shown = answer.json["params"]["output"]
    assert json.dumps(shown) == json.dumps(output)  # in the same order
    (item,) = web.get(f"/v1/jobs/{answer.json['id']}/items").json["data"]
    assert json.dumps(item["params"]["output"]) == json.dumps(output)


def test_a_format_of_an_item_replaces_that_of_the_job(web: Web) -> None:
    items = [
        {"prompt": "a"},
        {"prompt": "b", "params": {"output": CHOICE}},
        {"prompt": "c", "params": {"output": {"text": True}, "stop": ["."]}},
    ]
    answer = send(web, items=items, params={"output": {"json": True}})
    assert answer.status_code == 202, answer.text
    rows = web.get(f"/v1/jobs/{answer.json['id']}/items").json["data"]
    assert [row["params"]["output"] for row in rows] == [{"json": True}, CHOICE, {"text": True}]


def test_a_model_whose_engine_has_no_structured_output_refuses_by_name(web: Web) -> None:
    for output in ({"json": True}, CHOICE):
        answer = send(web, model="echo", params={"output": output})
        assert errors(answer) == [("unsupported", "params.output")]
        assert "engine echo" in answer.json["detail"]
    items = [{"prompt": "a"}, {"prompt": "b", "params": {"output": CHOICE}}]
    assert errors(send(web, model="echo", items=items)) == [
        ("unsupported", "items.1.params.output")
    ]
    assert send(web, model="echo", params={"output": {"text": True}}).status_code == 202


CHAT = "{% for message in messages %}{{ message.content }}{% endfor %}"
CALL = {"functions": [{"name": "f", "parameters": {"type": "object"}}], "choice": "required"}


def test_calls_that_must_be_made_are_checked_as_formats_are(web: Web) -> None:
    for engine, features in (("native", ["structured_output"]), ("echo", [])):
        chats = card(f"{engine}-chat", engine=engine, features=features, chat_template=CHAT)
        web.services.fleet.publish(chats, b"")

    def ask(tools: Any, model: str = "native-chat", **params: Any) -> Any:
        item = {"messages": [{"role": "user", "content": "a"}], "tools": tools, "params": params}
        return send(web, model=model, items=[item])

    assert ask(CALL).status_code == 202
    assert errors(ask(CALL, "echo-chat")) == [("unsupported", "items.0.tools")]
    assert ask({**CALL, "choice": "auto"}, "echo-chat", stop=["."]).status_code == 202
    assert errors(ask(CALL, stop=["."])) == [("invalid_value", "items.0.params.stop")]
    odd = {"type": "object", "properties": {"a": {"not": {}}}}
    answer = ask({**CALL, "functions": [{"name": "f", "parameters": odd}]})
    ((code, field),) = errors(answer)
    assert code == "invalid_grammar" and field.startswith("items.0.tools.")
    answer = ask({**CALL, "choice": "auto"}, output=CHOICE)
    assert errors(answer) == [("invalid_value", "items.0.params.output")]


def test_thinking_is_refused_where_the_model_does_not_think(web: Web) -> None:
    answer = send(web, params={"thinking": {"max_tokens": 5}})
    assert errors(answer) == [("unsupported", "params.thinking")]
    thinker = card("thinker", engine="native", features=["structured_output", "thinking"])
    web.services.fleet.publish(thinker, b"")
    answer = send(web, model="thinker", params={"thinking": {"max_tokens": 5}})
    assert answer.status_code == 202, answer.text


@pytest.mark.parametrize(
    ("name", "value"),
    [("stop", ["."]), ("stop_token_ids", [1]), ("ignore_eos", True), ("min_tokens", 1)],
)
def test_what_ends_a_text_by_itself_cannot_go_with_a_format(
    web: Web, name: str, value: Any
) -> None:
    together = {"output": CHOICE, name: value}
    assert errors(send(web, params=together)) == [("invalid_value", f"params.{name}")]
    own = [{"prompt": "a", "params": {name: value}}]
    answer = send(web, items=own, params={"output": CHOICE})
    assert errors(answer) == [("invalid_value", f"items.0.params.{name}")]
    nothing = {"stop": [], "stop_token_ids": [], "ignore_eos": False, "min_tokens": 0}
    assert send(web, params={"output": CHOICE, name: nothing[name]}).status_code == 202


def test_a_sweep_tries_formats_and_names_the_one_that_cannot_be(web: Web) -> None:
    formats = [CHOICE, {"json": True}, {"text": True}]
    answer = send(web, "/v1/sweeps", sweep={"output": formats})
    assert answer.status_code == 202, answer.text
    assert [job["params"]["output"] for job in answer.json["jobs"]] == formats
    answer = send(web, "/v1/sweeps", sweep={"output": [CHOICE, {"regex": "(?=a)"}]})
    assert errors(answer)[0][0] == "invalid_grammar"
    assert "(with output" in answer.json["detail"]


def test_a_sweep_of_what_ends_a_text_is_refused_beside_formats(web: Web) -> None:
    sweep = {"stop": [[], ["."]]}
    answer = send(web, "/v1/sweeps", sweep=sweep, params={"output": CHOICE})
    assert errors(answer) == [("invalid_value", "params.stop")]
    items = [{"prompt": "a", "params": {"output": CHOICE}}]
    answer = send(web, "/v1/sweeps", sweep=sweep, items=items)
    assert errors(answer) == [("invalid_value", "params.stop")]


def test_a_preset_gives_a_format_and_the_job_goes_over_it(web: Web) -> None:
    body = {"task": "t", "title": "T", "params": {"output": CHOICE}}
    put = web.call("PUT", "/v1/presets/labels", json=body)
    assert put.status_code == 201, put.text
    assert send(web, preset="labels").json["params"]["output"] == CHOICE
    over = send(web, preset="labels", params={"output": {"json": True}})
    assert over.json["params"]["output"] == {"json": True}


def test_a_preset_is_refused_whose_format_cannot_be_honoured(web: Web) -> None:
    body = {"task": "t", "title": "T", "params": {"output": {"regex": "(?=a)"}}}
    answer = web.call("PUT", "/v1/presets/odd", json=body)
    assert errors(answer) == [("invalid_grammar", "params.output.regex")]
    assert web.get("/v1/presets/odd").status_code == 404


def test_a_long_format_counts_among_what_a_tenant_keeps(make_web: Callable[..., Web]) -> None:
    small = make_web(max_stored_bytes=100_000)
    small.services.fleet.publish(card("able", engine="native", features=["structured_output"]), b"")
    long = {"json_schema": {"type": "string", "description": "d" * 60_000}}
    assert send(small, params={"output": long}).status_code == 202
    answer = send(small, params={"output": long})
    assert (answer.status_code, answer.json["code"]) == (429, "storage_full")


def test_a_rerun_takes_another_format(web: Web) -> None:
    items = [{"prompt": "a"}, {"prompt": "b", "params": {"output": {"text": True}}}]
    job = send(web, items=items, params={"output": CHOICE}).json["id"]
    wanted: dict[str, Any] = {"params": {"output": {"json": True}}, "override_items": True}
    again = web.post(f"/v1/jobs/{job}/rerun", json=wanted)
    assert again.status_code == 202, again.text
    rows = web.get(f"/v1/jobs/{again.json['id']}/items").json["data"]
    assert [row["params"]["output"] for row in rows] == [{"json": True}] * 2
    other = web.post(f"/v1/jobs/{job}/rerun", json={"model": "echo"})
    assert errors(other)[0] == ("unsupported", "params.output")


def test_appended_items_may_have_formats(web: Web) -> None:
    job = send(web).json["id"]
    good = {"items": [{"prompt": "b", "params": {"output": CHOICE}}]}
    assert web.post(f"/v1/jobs/{job}/items", json=good).status_code == 202
    bad = {"items": [{"prompt": "b", "params": {"output": {"regex": "(?=a)"}}}]}
    answer = web.post(f"/v1/jobs/{job}/items", json=bad)
    assert errors(answer)[0][0] == "invalid_grammar"


def test_check_and_preview_say_what_a_submit_would(web: Web) -> None:
    bad = [{"prompt": "a", "params": {"output": {"regex": "(?=a)"}}}]
    checked = send(web, "/v1/jobs/check", items=bad).json
    assert not checked["valid"] and checked["errors"][0]["code"] == "invalid_grammar"
    shown = send(web, "/v1/jobs/preview", items=bad).json
    assert shown["rows"][0]["errors"][0]["field"] == "items.0.params.output.regex"


def test_rows_with_a_format_that_cannot_be_honoured_may_fail_alone(web: Web) -> None:
    lines = [{"prompt": "a"}, {"prompt": "b", "params": {"output": {"regex": "(?=a)"}}}]
    content = "\n".join(map(json.dumps, lines)).encode()
    answer = web.upload("rows.jsonl", content, model="able", bad_rows="fail")
    assert answer.status_code == 202, answer.text
    assert answer.json["counts"]["total"] == 2


def test_a_column_called_output_is_data(web: Web) -> None:
    answer = web.upload("t.csv", b"prompt,output\na,b\n", model="able", params={"output": CHOICE})
    assert answer.status_code == 202, answer.text
    (item,) = web.get(f"/v1/jobs/{answer.json['id']}/items").json["data"]
    assert item["metadata"] == {"output": "b"}
    assert item["params"]["output"] == CHOICE


def test_a_job_has_a_thousand_formats_and_no_more(web: Web) -> None:
    def items(count: int) -> list[Any]:
        return [
            {"prompt": "a", "params": {"output": {"choice": [f"label {at}"]}}}
            for at in range(count)
        ]

    assert send(web, items=items(1000) * 2).status_code == 202
    answer = send(web, items=items(1001))
    assert errors(answer) == [("too_many_formats", "params.output")]


def test_a_long_schema_costs_an_item_of_its_job_nothing(web: Web) -> None:
    properties = {f"field {at:0100}": {"type": "string"} for at in range(400)}
    params = {"output": {"json_schema": {"type": "object", "properties": properties}}}
    items = [{"prompt": "a", "params": {"temperature": 0.5}}] * 2000
    send(web, items=items[:1], params=params)  # built once
    began = time.monotonic()
    answer = send(web, "/v1/jobs/check", items=items, params=params)
    took = time.monotonic() - began
    assert answer.json["valid"]
    began = time.monotonic()
    send(web, "/v1/jobs/check", items=items)
    assert took < 3 * (time.monotonic() - began) + 0.5


def test_lists_of_jobs_have_the_size_of_a_long_format(web: Web) -> None:
    long = {"json_schema": {"type": "string", "description": "d" * 2000}}
    for output, listed in ((CHOICE, CHOICE), (long, {"shortened": "json_schema", "bytes": 2050})):
        job = send(web, params={"output": output}).json
        assert job["params"]["output"] == output
        assert web.get("/v1/jobs").json["data"][0]["params"]["output"] == listed
        assert web.get(f"/v1/jobs/{job['id']}").json["params"]["output"] == output


def test_what_one_tenant_may_not_have_is_no_other_tenants_fault(web: Web) -> None:
    other = web.services.api_keys.create_key("other")
    for key in (web.key, other, web.key):
        body = {"model": "able", "prompts": ["a"], "params": {"output": {"regex": "(?=b)"}}}
        answer = web.post("/v1/jobs", json=body, key=key)
        assert errors(answer) == [("invalid_grammar", "params.output.regex")]
        body["params"] = {"output": CHOICE}
        assert web.post("/v1/jobs", json=body, key=key).status_code == 202
