"""What may be different where items of a job run again."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.cards import card
from tests.support.rerun import end, kept, rerun, rows, submit
from tests.support.web import Answer, Web


def test_params_go_over_the_jobs_and_the_items_own_stay_unless_overridden(web: Web) -> None:
    items = [
        {"prompt": "a", "params": {"temperature": 0.1, "top_p": 0.5}},
        {"prompt": "b", "params": {"temperature": 0.2}},
        {"prompt": "c"},
    ]
    params = {"max_tokens": 9, "temperature": 1.0}
    job = web.post("/v1/jobs", json={"items": items, "params": params}).json["id"]
    new = {"temperature": 0.9, "seed": 3}
    kept_own = rerun(web, job, params=new).json
    assert kept_own["params"] == {"max_tokens": 9, "temperature": 0.9, "seed": 3}
    found = [row["params"] for row in rows(web, kept_own["id"])]
    assert [(each["temperature"], each["top_p"]) for each in found] == [
        (0.1, 0.5),
        (0.2, 1.0),
        (0.9, 1.0),
    ]
    overridden = rerun(web, job, params=new, override_items=True).json["id"]
    found = [row["params"] for row in rows(web, overridden)]
    assert [(each["temperature"], each["top_p"]) for each in found] == [
        (0.9, 0.5),
        (0.9, 1.0),
        (0.9, 1.0),
    ]


def test_a_fitted_max_tokens_is_fitted_anew_and_a_given_one_stays(web: Web) -> None:
    small = card("small", context=20)
    web.services.fleet.publish(small, b"")
    items = [{"prompt": "a b c"}, {"prompt": "a b", "params": {"max_tokens": 18}}]
    job = web.post("/v1/jobs", json={"model": "small", "items": items}).json["id"]
    assert [row["params"]["max_tokens"] for row in rows(web, job)] == [17, 18]
    for model, expected in (("echo", [97, 18]), ("small", [17, 18])):
        answer = rerun(web, job, model=model)
        found = [row["params"]["max_tokens"] for row in rows(web, answer.json["id"])]
        assert found == expected, model
    again = rerun(web, job, params={"max_tokens": 5}).json["id"]
    assert [row["params"]["max_tokens"] for row in rows(web, again)] == [5, 18]
    for level in ("echo", "small"):
        twice = rerun(web, rerun(web, job, model="echo").json["id"], model=level).json["id"]
        assert rows(web, twice)[0]["params"]["max_tokens"] == {"echo": 97, "small": 17}[level]


def test_another_model_has_its_own_defaults_and_the_same_keeps_those_of_the_job(web: Web) -> None:
    web.services.fleet.publish(card("a", defaults={"temperature": 0.7, "top_k": 5}), b"")
    web.services.fleet.publish(card("b", defaults={"temperature": 0.2}), b"")
    job = submit(web, model="a", params={"top_k": 9})
    again = rerun(web, job, model="b").json
    assert again["params"] == {"top_k": 9, "temperature": 0.2}
    back = rerun(web, again["id"], model="a").json
    assert back["params"] == {"top_k": 9, "temperature": 0.7}
    web.services.fleet.publish(card("a", defaults={"temperature": 0.1}), b"")
    web.services.models._read.clear()
    assert rerun(web, job).json["params"] == {"top_k": 9, "temperature": 0.7}


def test_without_a_body_all_runs_again_as_it_was(web: Web) -> None:
    job = submit(web)
    answer = web.post(f"/v1/jobs/{job}/rerun")
    assert (answer.status_code, answer.json["rerun_of"]) == (202, job)
    wrong = web.post(f"/v1/jobs/{job}/rerun", data="rows=all")
    assert wrong.status_code == 415


def test_all_is_checked_against_the_card_as_it_is_now(web: Web) -> None:
    web.services.fleet.publish(card("tiny", context=3), b"")
    job = web.submit("a b", "a b c d e", model="echo")
    before = web.job_keys()
    refused = rerun(web, job, model="tiny")
    assert (refused.status_code, refused.json["code"]) == (422, "context_length_exceeded")
    assert refused.json["errors"][0]["field"] == "items.1.prompt"
    assert rerun(web, job, params={"n": 99}).json["errors"][0]["field"] == "items.0.params.n"
    assert rerun(web, job, model="nobody").json["code"] == "model_not_found"
    assert web.job_keys() == before


def test_another_template_is_filled_from_all_columns(web: Web) -> None:
    job = submit(web)
    again = rerun(web, job, template={"prompt": "{{id}}: {{other}}"}).json["id"]
    stored = web.services.store.items(again, 0, 1)[0]
    assert stored["vars"] == {"id": "000", "other": {"n": 0}}
    assert kept(web, again) == kept(web, job)
    unknown = rerun(web, job, template={"prompt": "{{nothing}}"})
    assert (unknown.status_code, unknown.json["code"]) == (422, "unknown_column"), unknown.text


def test_a_template_for_items_without_vars_is_refused(web: Web) -> None:
    job = web.submit("a", "b")
    refused = rerun(web, job, template={"prompt": "say {{text}}"})
    assert refused.status_code == 422, refused.text
    assert [error["field"] for error in refused.json["errors"]] == ["items.0.vars", "items.1.vars"]


def test_a_template_takes_the_place_of_prompts_that_have_columns_beside_them(web: Web) -> None:
    items = [{"prompt": "as it is", "vars": {"text": "new"}}]
    job = web.post("/v1/jobs", json={"items": items}).json["id"]
    again = rerun(web, job, template={"prompt": "say {{text}}"}).json["id"]
    stored = web.services.store.items(again, 0, 1)[0]
    assert (stored["vars"], "prompt" in stored) == ({"text": "new"}, False)


def test_token_ids_for_another_tokenizer_are_refused(web: Web) -> None:
    for name, tokenizer in (("other", b"x"), ("same", b""), ("known", b"words")):
        web.services.fleet.publish(card(name), tokenizer)
    web.services.fleet.publish(card("echo"), b"words")
    job = web.post("/v1/jobs", json={"model": "echo", "items": [{"prompt_ids": [0, 1]}]}).json["id"]
    refused = rerun(web, job, model="other")
    assert (refused.status_code, refused.json["code"]) == (422, "other_tokenizer")
    assert refused.json["errors"][0]["field"] == "items.0.prompt_ids"
    assert rerun(web, job, model="same").json["code"] == "other_tokenizer"
    assert rerun(web, job, model="known").status_code == 202
    assert rerun(web, job).status_code == 202


def test_a_preset_goes_over_the_jobs_and_under_what_is_given(web: Web) -> None:
    body = {
        "title": "Mine",
        "task": "chat",
        "template": {"prompt": "preset {{id}}"},
        "params": {"temperature": 0.2, "top_p": 0.3},
        "clean": ["whitespace"],
    }
    assert web.call("PUT", "/v1/presets/mine", json=body).status_code == 201
    job = submit(web)
    answer = rerun(web, job, preset="mine", params={"temperature": 0.8})
    assert answer.status_code == 202, answer.text
    again = answer.json
    assert again["params"] == {"temperature": 0.8, "max_tokens": 9, "top_p": 0.3}
    prep = web.services.store.prep(again["id"])
    assert prep["template"] == {"prompt": "preset {{id}}"}
    assert (prep["clean"], prep["preset"]) == (["whitespace"], "mine@1")
    web.call("DELETE", "/v1/presets/mine")
    third = rerun(web, again["id"]).json["id"]
    assert web.services.store.prep(third) == prep, "what it said is the job's"
    assert rerun(web, job, preset="mine").json["code"] == "preset_not_found"


def test_a_rerun_is_one_job_under_its_key(web: Web) -> None:
    job, headers = submit(web), {"Idempotency-Key": "again"}
    path = f"/v1/jobs/{job}/rerun"
    first = web.post(path, json={"params": {"seed": 1}}, headers=headers)
    again = web.post(path, json={"params": {"seed": 1}}, headers=headers)
    assert (again.json["id"], again.headers["Idempotent-Replayed"]) == (first.json["id"], "true")
    for other in ({"params": {"seed": 2}}, {}):
        refused = web.post(path, json=other, headers=headers)
        assert (refused.status_code, refused.json["code"]) == (422, "idempotency_key_reused")


def test_a_repeated_rerun_or_retry_is_answered_whatever_became_of_what_it_named(web: Web) -> None:
    preset = {"title": "Mine", "task": "chat", "params": {"temperature": 0.2}}
    web.call("PUT", "/v1/presets/mine", json=preset)
    job = submit(web)
    end(web, failing=1)
    requests: dict[str, dict[str, Any]] = {
        "rerun": {"json": {"preset": "mine"}},
        "retry": {},
    }

    def send(kind: str) -> Answer:
        headers = {"Idempotency-Key": kind}
        return web.post(f"/v1/jobs/{job}/{kind}", headers=headers, **requests[kind])

    first = {kind: send(kind).json["id"] for kind in requests}
    web.call("DELETE", "/v1/presets/mine")
    web.call("DELETE", f"/v1/jobs/{job}")
    for kind in requests:
        again = send(kind)
        assert (again.status_code, again.json["id"]) == (202, first[kind]), again.text
        assert again.headers["Idempotent-Replayed"] == "true"
    web.call("DELETE", f"/v1/jobs/{first['retry']}")
    assert send("retry").status_code == 404


def test_another_tenants_job_is_not_found(web: Web) -> None:
    job = submit(web)
    other = web.services.api_keys.create_key("other")
    answer = web.post(f"/v1/jobs/{job}/rerun", json={}, key=other)
    none = web.post("/v1/jobs/job_0none/rerun", json={}, key=other)
    assert (answer.status_code, none.status_code) == (404, 404)
    assert answer.json["code"] == none.json["code"]


def test_a_rerun_of_a_chat_keeps_what_belongs_to_it(web: Web) -> None:
    template = "{% for m in messages %}{{ m.content }} {% endfor %}{{ extra }}"
    web.services.fleet.publish(card("chat", chat_template=template), b"")
    item = {
        "messages": [{"role": "user", "content": "hé"}],
        "chat_template_kwargs": {"extra": "x"},
        "stream": True,
    }
    job = web.post("/v1/jobs", json={"model": "chat", "items": [item]}).json["id"]
    again = rerun(web, job).json["id"]
    assert web.services.store.items(again, 0, 1) == web.services.store.items(job, 0, 1)
    assert rerun(web, job, model="echo").json["code"] == "no_chat_template"


@pytest.mark.parametrize(
    "wanted",
    [{"rows": "some"}, {"params": {"temperature": -1}}, {"what": 1}, {"template": {}}, {"rows": 1}],
)
def test_what_cannot_be_meant_is_refused(web: Web, wanted: dict[str, Any]) -> None:
    assert rerun(web, web.submit("a"), **wanted).status_code == 422
