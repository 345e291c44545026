"""Presets over the API: kept under a name, in versions, and what a job gets from one."""

from __future__ import annotations

from typing import Any

import pytest

from common.settings import Settings
from tests.support.cards import card
from tests.support.web import Web
from web.intake.presets import BUILTIN
from web.schemas.presets import MOST_BODY

CHAT = "{% for message in messages %}<{{ message.role }}> {{ message.content }}\n{% endfor %}"
MINE = {"task": "summarise", "title": "Two lines", "params": {"max_tokens": 40, "temperature": 0}}


def put(web: Web, name: str = "mine", **fields: Any) -> int:
    answer = web.call("PUT", f"/v1/presets/{name}", json=MINE | fields)
    assert answer.status_code == 201, answer.text
    assert answer.json == {"name": name, "version": answer.json["version"]}
    return int(answer.json["version"])


def params_of(web: Web, **fields: Any) -> dict[str, Any]:
    found: dict[str, Any] = web.get(f"/v1/jobs/{web.submit(**fields)}").json["params"]
    return found


def test_a_preset_comes_back_as_it_was_put(web: Web) -> None:
    said: dict[str, Any] = MINE | {
        "template": {"messages": [{"role": "user", "content": "In two lines: {{text}}"}]},
        "clean": ["html"],
        "truncate": {"to": "fit", "keep": "both"},
        "metrics": ["rouge_l"],
        "examples": [{"vars": {"text": "long"}, "reference": "short"}],
    }
    put(web, **said)
    shown = web.get("/v1/presets/mine").json
    assert {name: shown[name] for name in said} == said
    assert (shown["name"], shown["version"], shown["builtin"]) == ("mine", 1, False)


def test_versions_never_change_and_each_can_be_asked_for(web: Web) -> None:
    assert [put(web, title=title) for title in ("one", "two", "two")] == [1, 2, 2]
    assert web.get("/v1/presets/mine@1").json["title"] == "one"
    newest = web.get("/v1/presets/mine").json
    assert (newest["title"], newest["version"], newest["versions"]) == ("two", 2, [1, 2])


def test_the_list_has_own_presets_then_the_built_in_ones(web: Web) -> None:
    put(web, "zebra")
    put(web, "ant")
    found = web.get("/v1/presets").json["data"]
    assert [each["name"] for each in found] == ["ant", "zebra", *BUILTIN]
    assert [each["builtin"] for each in found] == [False, False, *[True] * len(BUILTIN)]
    assert found[-1]["created_at"] is None


def test_a_jobs_own_params_go_over_the_presets(web: Web) -> None:
    put(web)
    assert params_of(web, preset="mine") == {"max_tokens": 40, "temperature": 0}
    assert params_of(web, preset="mine", params={"temperature": 1, "top_k": 5}) == {
        "max_tokens": 40,
        "temperature": 1,
        "top_k": 5,
    }


def test_a_job_may_name_the_version(web: Web) -> None:
    put(web)
    put(web, params={"max_tokens": 9})
    assert params_of(web, preset="mine@1")["max_tokens"] == 40
    assert params_of(web, preset="mine")["max_tokens"] == 9


def test_a_jobs_own_template_and_lists_replace_the_presets(web: Web) -> None:
    put(web, template={"prompt": "A {{text}}"}, clean=["html", "unicode"], truncate={"to": 50})
    items = [{"vars": {"text": "<b>x</b>"}}]

    def made(**fields: Any) -> tuple[dict[str, Any], str]:
        body = {"items": items, "preset": "mine", **fields}
        answer = web.post("/v1/jobs", json=body)
        assert answer.status_code == 202, answer.text
        shown = web.post("/v1/jobs/preview", json=body).json["rows"][0]["text"]
        return web.get(f"/v1/jobs/{answer.json['id']}").json, shown

    job, text = made()
    assert (job["preset"], job["clean"], job["truncate"]["to"]) == (
        "mine@1",
        ["unicode", "html"],
        50,
    )
    assert text == "A x"
    job, text = made(clean=[], template={"prompt": "B {{text}}"})
    assert (job["preset"], job.get("clean") or [], text) == ("mine@1", [], "B <b>x</b>")


def test_a_job_keeps_what_the_preset_said_when_it_was_made(web: Web) -> None:
    put(web, template={"prompt": "A {{text}}"})
    body = {"items": [{"vars": {"text": "x"}}], "preset": "mine"}
    job_id = web.post("/v1/jobs", json=body).json["id"]
    put(web, template={"prompt": "B {{text}}"})
    web.call("DELETE", "/v1/presets/mine")
    job = web.get(f"/v1/jobs/{job_id}").json
    assert (job["preset"], job["template"]) == ("mine@1", {"prompt": "A {{text}}"})
    web.worker().run(error="engine_error")
    again = web.post(f"/v1/jobs/{job_id}/retry")
    assert again.status_code == 202, again.text
    assert again.json["template"] == {"prompt": "A {{text}}"}


@pytest.mark.parametrize("name", BUILTIN)
def test_the_examples_of_each_built_in_preset_make_a_job(redis_url: str, name: str) -> None:
    web = Web(Settings.load(redis_url=redis_url))
    card_ = card("chatty", context=4096, chat_template=CHAT)
    web.services.fleet.publish(card_, b"")
    items = web.get(f"/v1/presets/{name}").json["examples"]
    body = {"model": "chatty", "preset": name, "items": items}
    shown = web.post("/v1/jobs/preview", json=body).json["rows"]
    assert [row["errors"] for row in shown] == [[]] * len(items)
    assert all("{{" not in row["text"] for row in shown)
    for row, item in zip(shown, items, strict=True):
        assert all(str(value) in row["text"] for value in item["vars"].values())
    answer = web.post("/v1/jobs", json=body)
    assert answer.status_code == 202, answer.text
    assert answer.json["preset"] == f"{name}@1"


def test_a_check_counts_with_the_preset(web: Web) -> None:
    put(web, params={"max_tokens": 9})
    body = {"prompts": ["a b", "c"], "preset": "mine"}
    assert web.post("/v1/jobs/check", json=body).json["max_completion_tokens"] == 18


def test_deleting_a_preset_leaves_jobs_intact(web: Web) -> None:
    put(web)
    job_id = web.submit(preset="mine")
    assert web.call("DELETE", "/v1/presets/mine").status_code == 204
    assert web.get("/v1/presets/mine").status_code == 404
    assert web.get(f"/v1/jobs/{job_id}").json["params"]["max_tokens"] == 40
    worker = web.worker()
    worker.run(error="engine_error")
    assert web.post(f"/v1/jobs/{job_id}/retry").status_code == 202


def test_one_version_can_be_deleted(web: Web) -> None:
    put(web)
    put(web, title="two")
    assert web.call("DELETE", "/v1/presets/mine@2").status_code == 204
    assert web.get("/v1/presets/mine").json["version"] == 1
    assert web.call("DELETE", "/v1/presets/mine@2").status_code == 404
    assert put(web, title="three") == 3


def test_the_names_of_built_in_presets_are_reserved(web: Web) -> None:
    for answer in (
        web.call("PUT", "/v1/presets/clause", json=MINE),
        web.call("DELETE", "/v1/presets/clause"),
        web.call("DELETE", "/v1/presets/clause@1"),
    ):
        assert (answer.status_code, answer.json["code"]) == (409, "preset_reserved")


def test_a_built_in_preset_is_shown_as_it_is_written(web: Web) -> None:
    shown = web.get("/v1/presets/clause").json
    assert (shown["version"], shown["versions"], shown["builtin"]) == (1, [1], True)
    assert "{{facts}}" in shown["template"]["messages"][-1]["content"]
    assert web.get("/v1/presets/clause@1").json == shown
    assert web.get("/v1/presets/clause@2").status_code == 404


def test_another_tenants_preset_is_as_if_there_were_none(web: Web) -> None:
    put(web)
    other = web.services.api_keys.create_key("other")
    missing = web.call("GET", "/v1/presets/never", key=other)
    theirs = web.call("GET", "/v1/presets/mine", key=other)
    assert theirs.status_code == missing.status_code == 404
    assert theirs.json["code"] == missing.json["code"] == "preset_not_found"
    assert "mine" not in [
        each["name"] for each in web.call("GET", "/v1/presets", key=other).json["data"]
    ]
    assert web.call("DELETE", "/v1/presets/mine", key=other).status_code == 404
    body = {"prompts": ["a"], "preset": "mine"}
    assert web.call("POST", "/v1/jobs", key=other, json=body).status_code == 404


@pytest.mark.parametrize(
    "name", ["", "mine@3", "mine@", "mine@x", "mine@01", "never", "@1", "a@b@1"]
)
def test_a_job_of_a_preset_that_is_none_is_refused_at_its_field(web: Web, name: str) -> None:
    put(web)
    answer = web.post("/v1/jobs", json={"prompts": ["a"], "preset": name})
    assert answer.status_code == (404 if name else 422)
    assert answer.json["errors"][0]["field"] == "preset"


def test_a_name_that_is_nearly_right_is_suggested(web: Web) -> None:
    answer = web.post("/v1/jobs", json={"prompts": ["a"], "preset": "sumarise"})
    assert "near it are summarise" in answer.json["detail"]


@pytest.mark.parametrize(
    "name", ["a%00b", "a%0Ab", "%20a", "a@1", "x" * 65, "a%E2%80%AEb", "a%3Fb", "%2E%2E%2E"]
)
def test_a_name_that_cannot_be_one_is_refused(web: Web, name: str) -> None:
    answer = web.call("PUT", f"/v1/presets/{name}", json=MINE)
    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, "name")


@pytest.mark.parametrize("name", ["x" * 64, "Zusammenfassung%20kurz", "要約", "a.b-c_d"])
def test_names_in_any_script_are_taken(web: Web, name: str) -> None:
    assert web.call("PUT", f"/v1/presets/{name}", json=MINE).status_code == 201
    assert web.get(f"/v1/presets/{name}").status_code == 200


def test_a_name_is_the_same_however_its_accents_are_encoded(web: Web) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    assert put(web, composed) == 1
    other = web.call("PUT", f"/v1/presets/{decomposed}", json=MINE | {"title": "Other"})
    assert other.json == {"name": composed, "version": 2}
    assert web.get(f"/v1/presets/{decomposed}@1").json["name"] == composed
    job = web.get(f"/v1/jobs/{web.submit(preset=decomposed)}").json
    assert job["preset"] == f"{composed}@2"
    assert web.call("DELETE", f"/v1/presets/{decomposed}").status_code == 204
    assert web.get(f"/v1/presets/{composed}").status_code == 404


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"task": ""}, "task"),
        ({"title": "two\nlines"}, "title"),
        ({"title": "x" * 121}, "title"),
        ({"params": {"temperature": -1}}, "params.temperature"),
        ({"metrics": ["ROUGE!"]}, "metrics.0"),
        ({"metrics": ["bleu"] * 17}, "metrics"),
        ({"metrics": ["chrf", "bleu", "chrf"]}, "metrics"),
        ({"metrics": [{"name": "bleu", "tokenize": "klingon"}]}, "metrics.0"),
        ({"examples": [{"reference": "no vars"}]}, "examples.0.vars"),
        ({"examples": [{"vars": {}}] * 21}, "examples"),
        ({"clean": ["soap"]}, "clean.0"),
        ({"model": "m"}, "model"),
        ({"template": {"prompt": ""}}, "template"),
        ({"template": {"prompt": "a {{b"}}, "template.prompt"),
        (
            {"template": {"messages": [{"role": "user", "content": "{{a}} {{b"}]}},
            "template.messages.0.content",
        ),
    ],
)
def test_a_preset_that_makes_no_sense_is_refused_at_its_field(
    web: Web, fields: dict[str, Any], field: str
) -> None:
    answer = web.call("PUT", "/v1/presets/mine", json=MINE | fields)
    assert answer.status_code == 422
    assert answer.json["errors"][0]["field"] == field
    assert web.get("/v1/presets/mine").status_code == 404


def test_a_preset_has_64_kib_at_most(web: Web) -> None:
    def sized(size: int) -> dict[str, Any]:
        return MINE | {"template": {"prompt": "x" * size}}

    around = len(b'{"task":"summarise","title":"Two lines","template":{"prompt":""},')
    around += len(b'"params":{"max_tokens":40,"temperature":0.0}}')
    assert web.call("PUT", "/v1/presets/a", json=sized(MOST_BODY - around)).status_code == 201
    refused = web.call("PUT", "/v1/presets/b", json=sized(MOST_BODY - around + 1))
    assert (refused.status_code, refused.json["code"]) == (413, "too_large")
