"""Items of which given texts are scored: what is refused, stored and counted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from common.types import ItemState
from tests.support.cards import card
from tests.support.scored import CHOICE, FEATURES, ITEM, submit
from tests.support.web import Web


def refused(web: Web, *items: dict[str, Any], **fields: Any) -> dict[str, Any]:
    answer = web.post("/v1/jobs", json={"items": list(items), **fields})
    assert answer.status_code == 422, answer.text
    assert web.job_keys() == []
    first: dict[str, Any] = answer.json["errors"][0]
    return first


def test_workers_get_the_texts(scoring: Web) -> None:
    job_id = submit(scoring, ITEM, {"prompt": "", "continuations": ["two words"]})
    assert scoring.services.store.items(job_id, 0, 2) == [
        ITEM,
        {"prompt": "", "continuations": ["two words"]},
    ]


def test_prompt_and_all_texts_count_as_what_the_job_needs(scoring: Web) -> None:
    job_id = submit(scoring, ITEM)
    job = scoring.services.store.job(job_id, "acme")
    assert job.cost == 3 + (1 + 2 + 3)
    chooses = submit(scoring, {"prompt": "one two three"}, params=CHOICE)
    job = scoring.services.store.job(chooses, "acme")
    assert job.cost == 3 + (2 + 3), "each label with its end"


def test_a_model_that_cannot_score_refuses_by_name(web: Web) -> None:
    error = refused(web, ITEM)
    assert (error["code"], error["field"]) == ("unsupported", "items.0.continuations")
    assert "engine echo" in error["message"]


@pytest.mark.parametrize(
    ("texts", "code", "field"),
    [
        ([], "invalid_value", "items.0.continuations"),
        (["a"] * 65, "invalid_value", "items.0.continuations"),
        (["a", ""], "invalid_value", "items.0.continuations.1"),
        (["a", " \n"], "invalid_value", "items.0.continuations.1"),
        (["a", 7], "wrong_type", "items.0.continuations.1"),
        ("a", "wrong_type", "items.0.continuations"),
        (["a", "b " * 98], "context_length_exceeded", "items.0.continuations"),
        (["a", "b" * 100_000], "context_length_exceeded", "items.0.continuations"),
    ],
)
def test_texts_that_cannot_be_scored_are_refused(
    scoring: Web, texts: Any, code: str, field: str
) -> None:
    error = refused(scoring, {**ITEM, "continuations": texts})
    assert (error["code"], error["field"]) == (code, field), error


def test_the_most_and_the_longest_texts_are_accepted(scoring: Web) -> None:
    submit(scoring, {**ITEM, "continuations": [f"{n} b" for n in range(64)]})
    submit(scoring, {**ITEM, "continuations": ["b " * 97]})


@pytest.mark.parametrize(
    "params",
    [
        {"temperature": 0.5},
        {"n": 2},
        {"max_tokens": 5},
        {"stop": ["a"]},
        {"seed": 1},
        {"top_p": 0.5},
        {"output": {"json": True}},
        CHOICE,
        {"ignore_eos": True},
        {"min_tokens": 1},
    ],
)
def test_params_without_effect_are_refused_of_the_item_and_of_its_job(
    scoring: Web, params: dict[str, Any]
) -> None:
    (name,) = params
    own = refused(scoring, {**ITEM, "params": params})
    assert (own["field"], own["code"]) == (f"items.0.params.{name}", "invalid_value")
    jobs = refused(scoring, ITEM, params=params)
    assert name in jobs["message"] and "job's params" in jobs["message"]


def test_params_that_change_nothing_are_accepted(scoring: Web) -> None:
    params = {"n": 1, "temperature": 1.0, "stop": [], "output": {"text": True}, "seed": None}
    submit(scoring, ITEM, params=params)
    submit(scoring, {**ITEM, "params": {"logprobs": 2, "prompt_logprobs": 0}})
    scoring.services.fleet.publish(card("own", features=FEATURES, defaults={"top_p": 0.9}), b"")
    submit(scoring, ITEM, model="own")


def test_an_item_whose_texts_are_scored_is_not_streamed(scoring: Web) -> None:
    assert refused(scoring, {**ITEM, "stream": True})["field"] == "items.0.stream"


@pytest.mark.parametrize(
    "params",
    [
        {"top_k": 5},
        {"top_p": 0.5},
        {"min_p": 0.1},
        {"typical_p": 0.5},
        {"repetition_penalty": 1.1},
        {"presence_penalty": 1.0},
        {"frequency_penalty": 1.0},
        {"no_repeat_ngram_size": 2},
        {"logit_bias": {"5": 1.0}},
        {"bad_words": ["a"]},
    ],
)
def test_params_that_a_choice_by_probability_does_not_have_are_refused(
    scoring: Web, params: dict[str, Any]
) -> None:
    (name,) = params
    error = refused(scoring, {"prompt": "a"}, params={**CHOICE, **params})
    assert name in error["message"] and error["code"] == "invalid_value"


def test_a_choice_takes_temperature_seed_n_and_logprobs(scoring: Web) -> None:
    params = {**CHOICE, "temperature": 0, "seed": 5, "n": 3, "logprobs": 1, "max_tokens": 3}
    submit(scoring, {"prompt": "a", "stream": True}, params=params)


def test_labels_that_do_not_fit_are_refused(scoring: Web) -> None:
    error = refused(scoring, {"prompt": "a"}, params={**CHOICE, "max_tokens": 2})
    assert "longest label with its end has 3 tokens" in error["message"]
    error = refused(scoring, {"prompt": "a " * 98}, params=CHOICE)
    assert error["code"] == "context_length_exceeded"
    labels = [str(n) for n in range(65)]
    output = {"choice": labels, "probabilities": True}
    error = refused(scoring, {"prompt": "a"}, params={"output": output})
    assert (error["code"], "64" in error["message"]) == ("out_of_range", True)
    submit(scoring, {"prompt": "a"}, params={"output": {**output, "choice": labels[:64]}})


def test_an_empty_prompt_needs_texts_of_two_tokens(scoring: Web) -> None:
    error = refused(scoring, {"prompt": "", "continuations": ["two words", "one"]})
    assert error["field"] == "items.0.continuations.1"
    assert refused(scoring, {"prompt": ""}, params=CHOICE)["code"] == "empty_prompt"
    assert refused(scoring, {"messages": [], "continuations": ["a"]})["code"] == "empty_prompt"
    assert refused(scoring, {"continuations": ["a b"]})["code"] == "missing_field"
    submit(scoring, {"prompt_ids": [], "continuations": ["two words"]})


def test_truncation_leaves_room_for_the_longest_text(scoring: Web) -> None:
    long = {"prompt": "w " * 200, "continuations": ["a", "b " * 30]}
    job_id = submit(scoring, long, truncate={"to": "fit"})
    (row,) = scoring.get(f"/v1/jobs/{job_id}/items?include=prompt").json["data"]
    assert len(row["rendered"].split()) == 70 and row["truncated_tokens"] == 130


def test_items_that_are_added_bring_their_columns(scoring: Web) -> None:
    job_id = submit(scoring, {"prompt": "a"})
    answer = scoring.post(f"/v1/jobs/{job_id}/items", json={"items": [ITEM]})
    assert answer.status_code == 202, answer.text
    header = scoring.get(f"/v1/jobs/{job_id}/results.csv").text.splitlines()[0]
    assert "continuations" in header and "choices" not in header


def test_retried_and_rerun_items_keep_their_texts(scoring: Web) -> None:
    job_id = submit(scoring, {**ITEM, "params": {"logprobs": 1}})
    worker = scoring.worker(scoring.card)
    worker.finish(worker.take(), error="engine_error")
    for again in ("retry", "rerun"):
        answer = scoring.post(f"/v1/jobs/{job_id}/{again}", json={})
        assert answer.status_code == 202, answer.text
        (item,) = scoring.services.store.items(answer.json["id"], 0, 1)
        assert item["continuations"] == ITEM["continuations"]
    assert scoring.services.store.states(job_id) == ItemState.FAILED.byte.encode()


def rerun(web: Web, job_id: str, **wanted: Any) -> list[dict[str, Any]]:
    """The items of the new job, as they are stored."""
    answer = web.post(f"/v1/jobs/{job_id}/rerun", json=wanted)
    assert answer.status_code == 202, answer.text
    found: list[dict[str, Any]] = web.services.store.items(answer.json["id"], 0, 9)  # type: ignore[assignment]
    return found


def test_params_of_a_rerun_go_to_those_items_that_can_have_them(scoring: Web) -> None:
    items: list[dict[str, Any]] = [ITEM, {"prompt": "a"}, {"prompt": "b", "params": CHOICE}]
    job_id = submit(scoring, *items, {"prompt": "c", "params": {"temperature": 0.1}})
    changed = {"temperature": 0.5, "top_p": 0.4, "logprobs": 2, "max_tokens": 9}
    found = [item.get("params", {}) for item in rerun(scoring, job_id, params=changed)]
    chosen, text = {"temperature": 0.5, "max_tokens": 9}, {**changed}
    del text["logprobs"]  # is the whole job's
    assert found == [{}, text, {**CHOICE, **chosen}, {**text, "temperature": 0.1}]
    over = rerun(scoring, job_id, params=changed, override_items=True)
    assert [item.get("params", {}) for item in over][3] == text


def test_params_of_a_rerun_that_no_item_can_have_are_refused(scoring: Web) -> None:
    job_id = submit(scoring, ITEM, {"prompt": "a", "params": CHOICE})
    answer = scoring.post(f"/v1/jobs/{job_id}/rerun", json={"params": {"top_p": 0.5}})
    assert answer.status_code == 422 and "top_p has no effect" in answer.text
    changed = {"temperature": 0.5, "max_tokens": 9}
    assert rerun(scoring, job_id, params=changed)[1]["params"] == {**CHOICE, **changed}


def test_items_are_found_by_their_texts(scoring: Web) -> None:
    job_id = submit(scoring, ITEM, {**ITEM, "continuations": ["other one"]})
    found = scoring.get(f"/v1/jobs/{job_id}/items?text=TODAY").json["data"]
    assert [row["index"] for row in found] == [0]


def test_what_a_sweep_varies_without_effect_is_refused(scoring: Web) -> None:
    for job, varied in (
        ({"items": [ITEM]}, {"temperature": [1.0, 0.5]}),
        ({"prompts": ["a"], "params": CHOICE}, {"top_k": [0, 5]}),
    ):
        answer = scoring.post("/v1/sweeps", json={**job, "sweep": varied})
        assert answer.status_code == 422 and "has no effect" in answer.text
        assert scoring.job_keys() == []
    body = {"prompts": ["a"], "params": CHOICE, "sweep": {"temperature": [0, 0.5]}}
    assert scoring.post("/v1/sweeps", json=body).status_code == 202


def test_a_function_that_must_be_called_is_refused_beside_continuations(scoring: Web) -> None:
    chat = {"messages": [{"role": "user", "content": "hi"}], "continuations": ["a"]}
    tools = {"functions": [{"name": "f"}], "choice": "required"}
    scoring.card = card(features=FEATURES, chat_template="{{ messages[0].content }}")
    scoring.services.fleet.publish(scoring.card, b"")
    assert refused(scoring, {**chat, "tools": tools})["field"] == "items.0.tools.choice"
    submit(scoring, {**chat, "tools": {**tools, "choice": "auto"}})


def test_a_check_and_a_preview_tell_what_is_wrong_item_by_item(scoring: Web) -> None:
    items = [ITEM, {**ITEM, "continuations": [" "]}, {**ITEM, "stream": True}]
    checked = scoring.post("/v1/jobs/check", json={"items": items})
    assert [each["field"] for each in checked.json["errors"]] == [
        "items.1.continuations.0",
        "items.2.stream",
    ]
    rows = scoring.post("/v1/jobs/preview?rows=3", json={"items": items}).json["rows"]
    assert [len(row["errors"]) for row in rows] == [0, 1, 1]


def test_lines_of_a_file_may_have_continuations(scoring: Web) -> None:
    lines = [{**ITEM, "custom_id": "a"}, {"vars": {"q": "x"}, "continuations": ["ja"]}]
    answer = scoring.upload("a.jsonl", json.dumps(lines[0]).encode())
    assert answer.status_code == 202, answer.text
    template = {"prompt": "Is {{q}} so?"}
    answer = scoring.upload("a.jsonl", json.dumps(lines[1]).encode(), template=template)
    assert answer.status_code == 202, answer.text
    (item,) = scoring.services.store.items(answer.json["id"], 0, 1)
    assert item == lines[1]
