"""Jobs with a template: what is stored where, what is refused, and what a job shows of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from common.prompting.template import TextTemplate
from common.store import keys
from common.types import ItemState
from tests.support.cards import card
from tests.support.web import Web

TEXT = {"template": {"prompt": "Say {{text}}"}, "params": {"max_tokens": 5}}


def submit(web: Web, items: list[dict[str, Any]], **fields: Any) -> str:
    answer = web.post("/v1/jobs", json={**TEXT, **fields, "items": items})
    assert answer.status_code == 202, answer.text
    return str(answer.json["id"])


def refused(web: Web, **body: Any) -> dict[str, Any]:
    answer = web.post("/v1/jobs", json={"items": [{"vars": {"text": "a"}}], **body})
    assert answer.status_code == 422, answer.text
    assert web.job_keys() == []
    first: dict[str, Any] = answer.json["errors"][0]
    return first


def test_workers_get_the_variables_that_the_template_names_and_no_others(web: Web) -> None:
    item = {"custom_id": "a", "vars": {"text": "hi", "id": 7, "": None}, "reference": ["x", "y"]}
    job_id = submit(web, [item, {"vars": {"text": "ho"}}])
    store = web.services.store
    assert store.items(job_id, 0, 2) == [
        {"custom_id": "a", "vars": {"text": "hi"}}, {"vars": {"text": "ho"}},
    ]  # fmt: skip
    assert store.side(job_id, 0, 2) == [
        {"vars": {"id": 7, "": None}, "reference": ["x", "y"]}, {},
    ]  # fmt: skip


def test_the_rendered_prompt_is_not_stored(web: Web) -> None:
    job_id = submit(web, [{"vars": {"text": "hi"}}] * 3)
    assert not any(
        b"Say hi" in str(value).encode() for value in web.services.store.items(job_id, 0, 3)
    )
    assert b"Say" not in web.services.redis.hget(keys.job(job_id), "spec")


def test_a_job_shows_how_its_prompts_are_made_and_a_list_does_not(web: Web) -> None:
    made = {
        "template": {"messages": [{"role": "user", "content": "{{text}}"}]},
        "clean": ["whitespace", "html"],
        "truncate": {"to": 5, "keep": "end"},
    }
    web.services.fleet.publish(card(chat_template="{{ messages[0].content }}"), b"")
    job_id = submit(web, [{"vars": {"text": "a", "id": 1}}], **made)
    job = web.get(f"/v1/jobs/{job_id}").json
    assert {name: job[name] for name in (*made, "preset")} == {
        **made, "clean": ["html", "whitespace"], "preset": None,
    }  # fmt: skip
    assert sorted(job["columns"]) == ["id", "text"]
    (listed,) = web.get("/v1/jobs").json["data"]
    assert listed["template"] is None and listed["columns"] == []


def test_columns_are_in_the_order_in_which_they_first_appear(web: Web) -> None:
    body = (
        '{"template": {"prompt": "{{b}}"}, "items": [{"vars": {"z": 1, "b": 2}}, '
        '{"vars": {"a": 1, "b": 2, "": 0}}]}'
    )
    job_id = web.post("/v1/jobs", data=body, content_type="application/json").json["id"]
    assert web.get(f"/v1/jobs/{job_id}").json["columns"] == ["z", "b", "a", ""]


def test_a_preset_takes_effect_and_the_job_names_its_version(web: Web) -> None:
    job_id = submit(
        web, [{"vars": {"text": "a"}}], template=None, preset="complete", params={"max_tokens": 5}
    )
    job = web.get(f"/v1/jobs/{job_id}").json
    assert job["preset"] == "complete@1" and job["template"] == {"prompt": "{{text}}"}
    assert job["params"]["max_tokens"] == 5 and job["params"]["temperature"] == 0.8


def test_items_without_a_template_keep_their_variables_beside_the_prompt(web: Web) -> None:
    job_id = submit(web, [{"prompt": "hi", "vars": {"id": 1}}, {"prompt": "ho"}], template=None)
    assert web.services.store.items(job_id, 0, 2) == [{"prompt": "hi"}, {"prompt": "ho"}]
    assert web.services.store.side(job_id, 0, 2) == [{"vars": {"id": 1}}, {}]


def test_appended_items_are_rendered_by_the_jobs_template(web: Web) -> None:
    job_id = submit(web, [{"vars": {"text": "a"}}], clean=["html"], truncate={"to": 2})
    items = [{"vars": {"text": "<b>1 2 3</b>", "more": True}}]
    answer = web.post(f"/v1/jobs/{job_id}/items", json={"items": items})
    assert answer.status_code == 202, answer.text
    assert answer.json["columns"] == ["text", "more"]
    assert web.services.store.items(job_id, 1, 1) == [
        {"vars": {"text": "<b>1 2 3</b>"}, "truncated_tokens": 1}
    ]
    bad = web.post(f"/v1/jobs/{job_id}/items", json={"items": [{"prompt": "a"}, {"vars": {}}]})
    assert [error["code"] for error in bad.json["errors"]] == ["invalid_value", "missing_variable"]


def test_rows_say_how_many_tokens_were_cut(web: Web) -> None:
    job_id = submit(
        web, [{"vars": {"text": "1 2 3 4"}}, {"vars": {"text": "1"}}], truncate={"to": 3}
    )
    web.worker().run()
    rows = web.get(f"/v1/jobs/{job_id}/items").json["data"]
    assert [row["truncated_tokens"] for row in rows] == [1, None]
    assert rows[0]["vars"] == {"text": "1 2 3 4"} and rows[0]["status"] == ItemState.SUCCEEDED


def test_a_check_counts_the_prompts_as_they_are_rendered(web: Web) -> None:
    items = [{"vars": {"text": "a b c"}}, {"vars": {"text": "<i>x</i>"}}]
    body = {"template": {"prompt": "1 2 {{text}}"}, "clean": ["html"], "items": items}
    found = web.post("/v1/jobs/check", json=body).json
    assert (found["valid"], found["prompt_tokens"], found["max_prompt_tokens"]) == (True, 8, 5)


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"template": {"prompt": "{{text"}}, "invalid_template", "template.prompt"),
        ({"template": {}}, "invalid_value", "template"),
        ({"template": {"prompt": ""}}, "invalid_value", "template"),
        ({"template": {"prompt": "a", "messages": [{"role": "user", "content": "a"}]}},
         "invalid_value", "template"),
        ({"template": {"prompt": "x" * 2**17}}, "invalid_value", "template"),
        ({"template": {"messages": [{"role": "user", "content": "a"}] * 65}},
         "invalid_value", "template.messages"),
        ({"template": {"messages": [{"role": "user", "content": "{{text}}"}]}},
         "no_chat_template", "template.messages"),
        ({"template": {"prompt": "{{text}}", "system": "x"}}, "unknown_field", "template.system"),
        ({"template": "{{text}}"}, "wrong_type", "template"),
        ({**TEXT, "clean": ["html", "css"]}, "invalid_value", "clean.1"),
        ({**TEXT, "clean": "html"}, "wrong_type", "clean"),
        ({**TEXT, "truncate": {"to": 0}}, "invalid_value", "truncate.to"),
        ({**TEXT, "truncate": {"to": True}}, "invalid_value", "truncate.to"),
        ({**TEXT, "truncate": {"to": 1.5}}, "invalid_value", "truncate.to"),
        ({**TEXT, "truncate": {"keep": "end"}}, "missing_field", "truncate.to"),
        ({**TEXT, "truncate": {"to": 1, "variable": "other"}},
         "invalid_value", "truncate.variable"),
        ({**TEXT, "preset": "no such"}, "preset_not_found", "preset"),
        ({**TEXT, "items": [{"vars": {}}]}, "missing_variable", "items.0.vars.text"),
        ({**TEXT, "items": [{"vars": {"text": ""}}]}, "missing_variable", "items.0.vars.text"),
        ({**TEXT, "items": [{"vars": {"text": None}}]}, "missing_variable", "items.0.vars.text"),
        ({**TEXT, "clean": ["whitespace"], "items": [{"vars": {"text": " "}}]},
         "missing_variable", "items.0.vars.text"),
        ({**TEXT, "items": [{"custom_id": "a"}]}, "missing_field", "items.0.vars"),
        ({**TEXT, "items": [{"prompt": "a", "vars": {"text": "a"}}]},
         "invalid_value", "items.0.prompt"),
        ({**TEXT, "items": [{"vars": {"text": "w " * 200}}]},
         "context_length_exceeded", "items.0.vars"),
        ({**TEXT, "items": [{"vars": {"text": "a"}, "chat_template_kwargs": {"x": 1}}]},
         "invalid_value", "items.0.chat_template_kwargs"),
        ({"items": [{"vars": {"text": "a"}}]}, "missing_field", "items.0.prompt"),
        ({"items": [{"prompt": "a", "vars": {str(n): n for n in range(201)}}]},
         "invalid_value", "items.0.vars"),
        ({"items": [{"prompt": "a", "vars": {"n" * 257: 1}}]}, "invalid_value", "items.0.vars"),
        ({"items": [{"prompt": "a", "vars": {"n": "x" * 2**20}}]}, "invalid_value", "items.0.vars"),
        ({"items": [{"prompt": "a", "vars": {"n": ["é" * 2**19]}}]},
         "invalid_value", "items.0.vars"),
        ({"items": [{"prompt": "a", "vars": []}]}, "wrong_type", "items.0.vars"),
        ({"items": [{"prompt": "a", "reference": []}]}, "invalid_value", "items.0.reference"),
        ({"items": [{"prompt": "a", "reference": ["r"] * 17}]},
         "invalid_value", "items.0.reference"),
        ({"items": [{"prompt": "a", "reference": [1]}]}, "invalid_value", "items.0.reference"),
        ({"clean": ["html"], "items": [{"prompt_ids": [1]}]},
         "invalid_value", "items.0.prompt_ids"),
        ({"truncate": {"to": 3, "variable": "text"}, "items": [{"prompt": "a"}]},
         "invalid_value", "truncate.variable"),
    ],
)  # fmt: skip
def test_what_cannot_be_prepared_is_refused_with_its_place(
    web: Web, body: dict[str, Any], code: str, field: str
) -> None:
    answer = web.post("/v1/jobs", json={"items": [{"vars": {"text": "a"}}], **body})
    assert answer.status_code == (404 if code == "preset_not_found" else 422), answer.text
    first = answer.json["errors"][0]
    assert (first["code"], first["field"]) == (code, field), answer.text
    assert web.job_keys() == []


def test_the_largest_of_everything_is_taken(web: Web) -> None:
    web.services.fleet.publish(card(context=100_000), b"")
    variables = {f"{n:0256}": n for n in range(199)} | {"text": "x " * 450_000}
    job_id = submit(
        web, [{"vars": variables, "reference": ["r"] * 16}], truncate={"to": 1, "keep": "both"},
        template={"prompt": "y" * (2**17 - 60) + " {{text}}"},
    )  # fmt: skip
    assert len(web.get(f"/v1/jobs/{job_id}").json["columns"]) == 200


def test_more_names_than_a_job_may_have_are_refused(web: Web) -> None:
    items = [{"vars": {"text": "a", **{f"{i}.{n}": 1 for n in range(150)}}} for i in range(7)]
    first = refused(web, **TEXT, items=items)
    assert (first["code"], first["field"]) == ("too_many_columns", "vars")
    submit(web, items[:6])


def test_a_model_that_published_no_tokenizer_cuts_nothing_and_says_so(web: Web) -> None:
    web.services.fleet.publish(card("blind", tokenizer="none"), b"")
    first = refused(web, **TEXT, model="blind", truncate={"to": 5})
    assert (first["code"], first["field"]) == ("invalid_value", "truncate")
    submit(web, [{"vars": {"text": "a"}}], model="blind")


def test_a_column_that_the_table_lacks_is_named_before_its_first_row_is_looked_at(web: Web) -> None:
    template = {"prompt": "{{txt}} {{id}}"}
    answer = web.upload("t.csv", b"id,text\n1\n2,b,c\n", template=template)
    assert [error["code"] for error in answer.json["errors"]] == ["unknown_column"]
    assert "{{txt}}" in answer.json["detail"] and "id, text" in answer.json["detail"]
    assert web.job_keys() == []


def test_a_prompt_that_is_sure_not_to_fit_is_refused_before_it_is_made(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    def render(self: TextTemplate, values: Mapping[str, str]) -> str:
        raise AssertionError("it was made")

    monkeypatch.setattr(TextTemplate, "render", render)
    found = refused(web, template={"prompt": "{{a}} " * 1000}, items=[{"vars": {"a": "x" * 100}}])
    assert found["code"] == "context_length_exceeded"
    assert "your prompt has 101000 characters" in found["message"]
