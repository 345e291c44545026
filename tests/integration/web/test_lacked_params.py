"""What the engine of a job's model lacks is refused by its name, wherever parameters come from."""

from __future__ import annotations

import json
from typing import Any

import pytest

from common.params import CELLS
from tests.support.cards import card
from tests.support.derived import derive, settle
from tests.support.lacking import LACKED, NEUTRAL, lacking
from tests.support.rerun import end, rerun
from tests.support.sweeps import sweep
from tests.support.web import Answer, Web

SAID = "engine vllm, which runs small, has no "
EACH = pytest.mark.parametrize(("name", "value"), LACKED.items())
TYPICAL = {"typical_p": 0.9}
CHAT = [{"role": "user", "content": "a"}]


@pytest.fixture(autouse=True)
def small(web: Web) -> None:
    """A model of such an engine, beside `echo`, whose card has no params as those of older
    workers."""
    web.card = lacking()
    web.services.fleet.publish(web.card, b"")


def send(web: Web, path: str = "/v1/jobs", **job: Any) -> Answer:
    body = {"model": "small"} | ({} if "items" in job else {"prompts": ["a", "b"]}) | job
    return web.post(path, json=body)


def refused(web: Web, answer: Answer, *fields: str, status: int = 422) -> None:
    """Each field is named with what the engine lacks, and nothing was enqueued."""
    assert answer.status_code == status, answer.text
    errors = answer.json["errors"]
    assert [(each["code"], each["field"]) for each in errors] == [
        ("unsupported", field) for field in fields
    ]
    assert all(SAID in each["message"] for each in errors)


@EACH
def test_a_jobs_own_parameter_is_refused_once(web: Web, name: str, value: Any) -> None:
    before = web.job_keys()
    refused(web, send(web, params={name: value}), f"params.{name}")
    items = [{"prompt": "a"}, {"prompt": "b", "params": {name: NEUTRAL[name]}}]
    refused(web, send(web, items=items, params={name: value}), f"params.{name}")
    template: dict[str, Any] = {
        "template": {"prompt": "say {{a}}"},
        "items": [{"vars": {"a": "b"}}],
    }
    refused(web, send(web, params={name: value}, **template), f"params.{name}")
    assert web.job_keys() == before


@EACH
def test_an_items_parameter_is_refused_at_its_item(web: Web, name: str, value: Any) -> None:
    items = [{"prompt": "a", "params": {name: each}} for each in (NEUTRAL[name], value, value)]
    expected = [f"items.{place}.params.{name}" for place in (1, 2)]
    refused(web, send(web, items=items), *expected)
    scored = [{"prompt": "a", "continuations": ["b"], "params": {"prompt_logprobs": 0}}]
    web.services.fleet.publish(lacking("scorer", features=("continuations",)), b"")
    answer = send(web, model="scorer", items=scored)
    assert answer.json["errors"][0]["field"] == "items.0.params.prompt_logprobs"


def test_all_that_is_lacked_is_named(web: Web) -> None:
    answer = send(web, params=LACKED)
    refused(web, answer, "params.typical_p")
    assert f"{SAID}{', '.join(LACKED)}: leave them out" in answer.json["detail"]


def test_values_that_ask_for_nothing_are_no_request(web: Web) -> None:
    answer = send(web, params=NEUTRAL, items=[{"prompt": "a", "params": NEUTRAL}])
    assert answer.status_code == 202, answer.text
    assert answer.json["params"].items() <= NEUTRAL.items()


def test_what_the_engine_honours_is_accepted(web: Web) -> None:
    params = {"temperature": 0.5, "top_k": 3, "logprobs": 2, "stop": ["x"], "n": 2}
    assert send(web, params=params).status_code == 202
    nothing = lacking("nothing", params=())
    web.services.fleet.publish(nothing, b"")
    assert send(web, model="nothing").status_code == 202, "no parameter was asked for"
    refused_one = send(web, model="nothing", params={"max_tokens": 5})
    assert refused_one.json["errors"][0]["field"] == "params.max_tokens"


def test_on_an_older_workers_card_all_are_honoured(web: Web) -> None:
    assert send(web, model="echo", params=LACKED).status_code == 202


@EACH
def test_lines_and_columns_of_an_upload_are_refused_at_their_line(
    web: Web, name: str, value: Any
) -> None:
    lines = [{"prompt": "a"}, {"prompt": "b", "params": {name: value}}]
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()
    answer = web.upload("a.jsonl", content, model="small")
    refused(web, answer, f"params.{name}")
    assert answer.json["errors"][0]["line"] == 2
    table = f"prompt,how\na,{NEUTRAL[name] if name != 'prompt_logprobs' else ''}\nb,{value}\n"
    columns = {"prompt": "prompt", "params": {name: "how"}}
    answer = web.upload("a.csv", table.encode(), model="small", columns=columns)
    refused(web, answer, f"params.{name}")
    assert answer.json["errors"][0]["line"] == 3
    kept = web.upload("a.csv", table.encode(), model="small", columns=columns, bad_rows="fail")
    assert kept.status_code == 202, kept.text
    first, second = web.services.store.items(kept.json["id"], 0, 2)
    assert "refused" not in first and second["refused"]["code"] == "unsupported"


def test_a_preset_may_have_it_and_cannot_be_used_with_such_a_model(web: Web) -> None:
    body = {"task": "label", "title": "Typical", "params": TYPICAL}
    assert web.call("PUT", "/v1/presets/typical", json=body).status_code == 201
    refused(web, send(web, preset="typical"), "params.typical_p")
    assert send(web, preset="typical", params={"typical_p": 1.0}).status_code == 202
    assert send(web, preset="typical", model="echo").status_code == 202


@EACH
def test_a_value_of_a_sweep_is_refused_at_its_place(web: Web, name: str, value: Any) -> None:
    before = web.job_keys()
    varied = [value, NEUTRAL[name]] if name != "prompt_logprobs" else [value]
    answer = sweep(web, {name: varied, "temperature": [0, 1]}, model="small")
    refused(web, answer, f"sweep.{name}.0")
    answer = sweep(web, {"temperature": [0, 1]}, model="small", params={name: value})
    refused(web, answer, f"params.{name}")
    assert web.job_keys() == before


def test_the_check_and_the_preview_say_the_same(web: Web) -> None:
    refused(web, send(web, "/v1/jobs/check", params=TYPICAL), "params.typical_p")
    items = [{"prompt": "a", "params": TYPICAL}]
    view = send(web, "/v1/jobs/check", items=items)
    assert not view.json["valid"]
    assert [each["field"] for each in view.json["errors"]] == ["items.0.params.typical_p"]
    refused(web, send(web, "/v1/jobs/preview", params=TYPICAL), "params.typical_p")
    (row,) = send(web, "/v1/jobs/preview", items=items).json["rows"]
    assert SAID in row["errors"][0]["message"]


def test_items_that_are_added_later_are_checked_too(web: Web) -> None:
    job_id = send(web).json["id"]
    answer = web.post(
        f"/v1/jobs/{job_id}/items", json={"items": [{"prompt": "c", "params": TYPICAL}]}
    )
    refused(web, answer, "items.0.params.typical_p")


def test_a_rerun_on_such_a_model_is_refused_and_a_neutral_value_lets_it_through(web: Web) -> None:
    items = [{"prompt": "a", "params": TYPICAL}, {"prompt": "b"}]
    own = send(web, model="echo", items=items).json["id"]
    refused(web, rerun(web, own, model="small"), "items.0.params.typical_p")
    more = {"params": {"typical_p": 1.0}, "override_items": True}
    assert rerun(web, own, model="small", **more).status_code == 202
    of_job = send(web, model="echo", params=TYPICAL).json["id"]
    refused(web, rerun(web, of_job, model="small"), "params.typical_p")
    assert rerun(web, of_job, model="small", params={"typical_p": 1.0}).status_code == 202
    refused(web, rerun(web, of_job, model="small", params=LACKED), "params.typical_p")


def finished(web: Web, **job: Any) -> str:
    """A job of `changing`, which an engine that honours everything ran; one item failed. Since
    then the name is served by an engine that lacks some parameters."""
    web.card = card("changing", defaults={**TYPICAL, "top_k": 5})
    web.services.fleet.publish(web.card, b"")
    job_id = str(send(web, model="changing", **job).json["id"])
    worker = web.worker()
    worker.finish(worker.take(1), error="engine_error")
    worker.run()
    worker.incarnation.release()
    web.card = lacking("changing", digest="another")
    web.services.fleet.publish(web.card, b"")
    web.services.models._read.clear()  # cards are read anew every second
    return job_id


def test_what_the_old_engines_card_gave_is_left_out_when_its_job_runs_again(web: Web) -> None:
    job_id = finished(web)
    assert web.get(f"/v1/jobs/{job_id}").json["params"] == {**TYPICAL, "top_k": 5}
    for answer in (web.post(f"/v1/jobs/{job_id}/retry"), rerun(web, job_id)):
        assert answer.status_code == 202, answer.text
        assert answer.json["params"] == {"top_k": 5}


def test_what_the_user_gave_is_never_left_out(web: Web) -> None:
    job_id = finished(web, params=TYPICAL)
    for answer in (web.post(f"/v1/jobs/{job_id}/retry"), rerun(web, job_id)):
        assert answer.status_code == 422
        assert answer.json["errors"][0]["field"] == "params.typical_p"


def test_a_job_of_other_jobs_rows_is_refused_at_its_submit(web: Web) -> None:
    source = web.submit("one", model="small")
    refused(web, derive(web, source, model="small", params=TYPICAL), "params.typical_p")
    judge = derive(web, source, model="small", params=TYPICAL, judge="scale")
    refused(web, judge, "params.typical_p")


def test_one_whose_model_changed_its_engine_while_it_waited_ends_with_the_reason(web: Web) -> None:
    able = card("able")
    web.services.fleet.publish(able, b"")
    source = web.submit("one", model="small")
    waiting = derive(web, source, model="able", params=TYPICAL).json["id"]
    web.services.fleet.publish(lacking("able", digest="another"), b"")
    web.services.models._read.clear()
    end(web)
    settle(web)
    shown = web.get(f"/v1/jobs/{waiting}").json
    assert shown["status"] == "cancelled"
    assert shown["error"]["code"] == "unsupported" and "typical_p" in shown["error"]["message"]


@pytest.mark.parametrize("stream", [False, True])
@EACH
def test_openais_endpoints_answer_in_their_shape(
    web: Web, name: str, value: Any, stream: bool
) -> None:
    ask = {"model": "small", "stream": stream}
    for path, body in (
        ("/v1/chat/completions", ask | {"messages": CHAT}),
        ("/v1/completions", ask | {"prompt": "a"}),
    ):
        answer = web.post(path, json=body | {name: value})
        assert answer.status_code == 400, answer.text
        error = answer.json["error"]
        about = (error["type"], error["param"], error["code"])
        assert about == ("invalid_request_error", name, "unsupported")
        assert f"{SAID}{name}" in error["message"] and "params." not in error["message"]


def test_a_completion_with_echo_and_logprobs_says_which_field_asks_for_the_prompts(
    web: Web,
) -> None:
    body = {"model": "small", "prompt": "a", "echo": True, "logprobs": 1}
    error = web.post("/v1/completions", json=body).json["error"]
    assert (error["param"], error["code"]) == ("logprobs", "unsupported")
    assert "prompt_logprobs" in error["message"]


def test_models_say_which_parameters_they_have(web: Web) -> None:
    shown = {each["id"]: each["card"]["params"] for each in web.get("/v1/models").json["data"]}
    assert shown["echo"] is None
    assert shown["small"] == [each for each in CELLS if each not in LACKED]
