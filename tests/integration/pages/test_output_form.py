"""The form's fields that say what a text must be: what they make, what they refuse and where."""

from __future__ import annotations

import html
import json
import re
from typing import Any

import pytest

from tests.support.cards import card
from tests.support.web import Site
from web.pages.output_fields import KINDS, read_output, typed_output

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name"],
}
TYPED: dict[str, tuple[str, Any]] = {
    "json_schema": (json.dumps(SCHEMA, indent=2), SCHEMA),
    "json": ("", True),
    "regex": ("[a-z]+/\\d", "[a-z]+/\\d"),
    "choice": ("yes\r\n no\r\nin\\ntwo", ["yes", " no", "in\ntwo"]),
    "grammar": ('start: A\r\nA: "a"', 'start: A\nA: "a"'),
}


@pytest.fixture(autouse=True)
def able(site: Site) -> None:
    """A model whose engine has structured output, beside `echo`."""
    features = ["structured_output", "thinking", "continuations"]
    site.services.fleet.publish(card("able", engine="native", features=features), b"")


def typed(kind: str, text: str, **more: str) -> dict[str, str]:
    return {"params.output.kind": kind, f"params.output.{kind}": text, "model": "able", **more}


def send(site: Site, action: str, form: dict[str, str]) -> Any:
    return site.browser.post("/", data={"action": action, "prompts": "hello", **form})


def said(text: str, name: str) -> list[str]:
    """The messages at this input."""
    box = re.search(rf'data-errors="{re.escape(name)}"[^>]*>(.*?)</div>', text, re.DOTALL)
    assert box, f"no box for the errors of {name}"
    return [html.unescape(message) for message in re.findall(r"<p>(.*?)</p>", box[1], re.DOTALL)]


def params_of(site: Site, form: dict[str, str]) -> Any:
    answer = send(site, "submit", form)
    assert answer.status_code == 303, answer.text
    job_id = answer.location.rpartition("/")[2]
    return job_id, site.get(f"/v1/jobs/{job_id}").json["params"]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_makes_its_format_and_comes_back_in_the_form(site: Site, kind: str) -> None:
    text, value = TYPED[kind]
    form = typed(kind, text) if text else {"params.output.kind": kind, "model": "able"}
    job_id, params = params_of(site, form)
    assert json.dumps(params) == json.dumps({"output": {kind: value}})  # in the same order
    again = site.look(f"/?like={job_id}")
    assert f'<option value="{kind}" selected>' in again
    if text:
        area = re.search(rf'<textarea id="params.output.{kind}".*?>\n(.*?)</textarea>', again, re.S)
        assert area and html.unescape(area[1]) == text.replace("\r\n", "\n")


def test_typing_undoes_reading() -> None:
    for output in (
        *({kind: value} for kind, (_, value) in TYPED.items()),
        {"choice": ["a\\nb", "\t", "{{"], "probabilities": True},
        {"regex": "a\nb"},
    ):
        params = {"output": output, "thinking": {"max_tokens": 7}}
        wrong: dict[str, str] = {}
        assert (read_output(typed_output(params), wrong), wrong) == (params, {})


def test_what_was_typed_for_another_kind_has_no_effect_and_stays(site: Site) -> None:
    form = typed("json", "") | {"params.output.choice": "a\nb"}
    del form["params.output.json"]
    _, params = params_of(site, form)
    assert params == {"output": {"json": True}}
    page = send(site, "check", form)
    assert ">\na\nb</textarea>" in site.look(page.location)


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        ("json_schema", "", "Type a JSON Schema"),
        ("json_schema", "{'a': 1}", "not valid JSON at column 2"),
        ("json_schema", '{"a": 1, "a": 2}', "'a' appears more than once"),
        ("json_schema", "[]", "object"),
        ("json_schema", '{"type": "strin"}', "strin"),
        ("json_schema", '{"a":' * 66 + "1" + "}" * 66, "nested too deeply"),
        ("json_schema", '{"a": "' + "x" * 65_536 + '"}', "65,536 bytes"),
        ("json_schema", " " * 300_000 + "{}", "262,144 characters"),
        ("regex", "(", ""),
        ("choice", "a\nb\na", "'a' more than once"),
        ("choice", "\n" * 9, "Type the labels"),
        ("grammar", "start: MISSING", ""),
    ],
)
def test_what_cannot_be_had_is_said_at_the_field_of_its_kind(
    site: Site, kind: str, text: str, words: str
) -> None:
    form, field = typed(kind, text), f"params.output.{kind}"
    refused = send(site, "submit", form)
    assert refused.status_code == 422
    (message,) = said(refused.text, field)
    assert words in message
    checked = site.browser.post("/check-output", data=form)
    assert checked.json == {"errors": {field: [message]}}
    # The step says the same, also where there is no prompt yet.
    step = site.look(send(site, "check", {**form, "prompts": ""}).location)
    assert said(step, field) == [message]


def test_a_check_of_the_format_needs_no_prompt_and_makes_nothing(site: Site) -> None:
    before = site.job_keys()
    for kind, (text, _) in TYPED.items():
        answer = site.browser.post("/check-output", data=typed(kind, text, prompts="x"))
        assert answer.json == {"errors": {}} or kind == "json"
    assert site.job_keys() == before
    assert site.app.test_client().post("/check-output", data={}).status_code == 401


def test_a_model_without_structured_output_refuses_at_the_kind(site: Site) -> None:
    refused = send(site, "submit", typed("choice", "a\nb") | {"model": "echo"})
    (message,) = said(refused.text, "params.output.choice")
    assert "engine echo" in message
    refused = send(site, "submit", {"params.output.kind": "json", "model": "echo"})
    assert said(refused.text, "params.output.kind")
    refused = send(site, "submit", {"params.thinking.max_tokens": "9", "model": "echo"})
    assert said(refused.text, "params.thinking.max_tokens")
    page = site.look("/")
    assert re.search(
        r'<option value="echo"[^>]* data-no-output data-no-thinking data-no-scores', page
    )
    assert re.search(r'<option value="able" data-no-chats>', page)


def test_probabilities_and_thinking_are_kept(site: Site) -> None:
    form = typed("choice", "a\nb", **{"params.output.probabilities": "on"})
    job_id, params = params_of(site, form)
    assert params == {"output": {"choice": ["a", "b"], "probabilities": True}}
    again = site.look(f"/?like={job_id}")
    assert 'name="params.output.probabilities" value="on" checked' in again
    job_id, params = params_of(site, {"params.thinking.max_tokens": "12", "model": "able"})
    assert params == {"thinking": {"max_tokens": 12}}
    again = site.look(f"/?like={job_id}")
    assert 'name="params.thinking.max_tokens" value="12"' in again


def test_a_kind_that_there_is_not_is_refused(site: Site) -> None:
    refused = send(site, "submit", {"params.output.kind": "xml", "model": "able"})
    assert refused.status_code == 422
    assert "params.output.kind must be" in said(refused.text, "")[0]


def test_a_preset_fills_the_format_in_and_one_without_leaves_it(site: Site) -> None:
    body = {"task": "label", "title": "Labels", "params": {"output": {"choice": ["a", "b"]}}}
    assert site.call("PUT", "/v1/presets/labels", json=body).status_code == 201
    old = typed("json_schema", "{}", **{"params.output.probabilities": "on"})
    page = site.look(send(site, "preset", old | {"preset": "labels"}).location)
    assert '<option value="choice" selected>' in page and ">\na\nb</textarea>" in page
    assert 'name="params.output.probabilities" value="on">' in page
    page = site.look(send(site, "preset", old | {"preset": "summarise"}).location)
    assert '<option value="json_schema" selected>' in page


def test_the_format_is_in_the_code_that_submits_the_same(site: Site) -> None:
    page = site.look(send(site, "check", typed("choice", "yes\nno")).location)
    code = html.unescape(page)
    assert '"output": {"choice": ["yes", "no"]}' in code
    assert "'output': {'choice': ['yes', 'no']}" in code
