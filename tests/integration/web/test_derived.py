"""Jobs that are made of the rows of other jobs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.derived import (
    PAIR,
    TEMPLATE,
    answer_all,
    derive,
    derived,
    items,
    job,
    rendered,
    settle,
)
from tests.support.web import Web


def test_it_waits_with_its_id_and_gets_its_rows_when_the_source_is_over(web: Web) -> None:
    source = web.submit("one", "two", "three", params={"n": 2})
    answer = derive(web, source, metadata={"name": "second"}, priority=4)
    assert answer.status_code == 202, answer.text
    shown = answer.json
    assert (shown["status"], shown["waiting_for"], shown["counts"]["total"]) == ("queued", "job", 0)
    assert shown["input_from"] == {"jobs": [source], "rows": "succeeded"}
    assert shown["template"] == TEMPLATE
    settle(web)
    assert job(web, shown["id"])["waiting_for"] == "job"
    worker = web.worker()
    worker.hand_in(
        {"outputs": [{"text": "uno"}, {"text": "another"}]},
        {"outputs": [{"text": "dos"}, {"text": "more"}]},
    )
    worker.run(2, error="engine_error")
    settle(web)
    made = job(web, shown["id"])
    assert (made["status"], made["waiting_for"], made["counts"]["total"]) == ("queued", None, 2)
    assert (made["metadata"], made["priority"]) == ({"name": "second"}, 4)
    assert made["created_at"] == shown["created_at"]
    assert rendered(web, made["id"]) == ["judge uno", "judge dos"], "the first of several outputs"
    assert [row["metadata"] for row in items(web, made["id"])] == [{"index": 0}, {"index": 1}]
    web.worker().run()
    assert job(web, made["id"])["status"] == "completed"
    assert [each["id"] for each in web.get("/v1/jobs").json["data"]] == [made["id"], source]


def test_a_template_may_name_columns_prompt_and_reference(web: Web) -> None:
    items_of = [
        {"vars": {"word": "a", "id": "007"}, "reference": ["gold", "more"]},
        {"vars": {"word": "b", "id": "008"}},
    ]
    body = {"template": {"prompt": "say {{word}}"}, "items": items_of, "evaluate": False}
    source = web.post("/v1/jobs", json=body)
    answer_all(web, "A", "B")
    template = {"prompt": "{{id}} {{prompt}}: {{output}}, not {{reference}}"}
    made = derived(web, source.json["id"], template=template)
    settle(web)
    rows = items(web, made)
    assert rendered(web, made)[0] == "007 say a: A, not gold"
    assert rows[0]["vars"] == {
        "word": "a",
        "id": "007",
        "output": "A",
        "prompt": "say a",
        "reference": "gold",
    }
    refused = web.services.store.items(made, 1, 1)[0]["refused"]
    assert "reference" in refused["message"]


def test_two_sources_are_matched_by_custom_id_and_else_by_position(web: Web) -> None:
    named = [[{"prompt": "p", "custom_id": name} for name in names] for names in ("xyz", "zwx")]
    bare = [[{"prompt": "p"}] * 3, [{"prompt": "p", "custom_id": "q"}, {"prompt": "p"}]]
    for sources, expected in (
        (named, [("1 or 6", "x", 0, 2), ("3 or 4", "z", 2, 0)]),
        (bare, [("1 or 4", None, 0, 0), ("2 or 5", None, 1, 1)]),
    ):
        jobs = [web.post("/v1/jobs", json={"items": each}).json["id"] for each in sources]
        answer_all(web, *"123")
        answer_all(web, *"456"[: len(sources[1])])
        made = derived(web, *jobs)
        settle(web)
        found = [
            (text, row["custom_id"], row["metadata"]["index_a"], row["metadata"]["index_b"])
            for text, row in zip(rendered(web, made), items(web, made), strict=True)
        ]
        assert found == expected
        web.worker().run()


def test_rows_that_failed_in_either_are_left_out_and_the_others_keep_their_places(
    web: Web,
) -> None:
    first, second = web.submit("a", "b", "c"), web.submit("a", "b", "c")
    worker = web.worker()
    worker.hand_in({"outputs": [{"text": "1"}]})
    worker.run(1, error="engine_error")
    worker.hand_in({"outputs": [{"text": "3"}]}, {"outputs": [{"text": "4"}]})
    worker.hand_in({"outputs": [{"text": "5"}]}, {"outputs": [{"text": "6"}]})
    made = derived(web, first, second)
    settle(web)
    assert rendered(web, made) == ["1 or 4", "3 or 6"]


def test_a_row_that_cannot_run_fails_alone(web: Web) -> None:
    source = web.submit("a", "b")
    answer_all(web, "fine", "far too long " * 60)
    made = derived(web, source)
    settle(web)
    stored = web.services.store.items(made, 0, 2)
    assert [item.get("refused", {}).get("code") for item in stored] == [
        None,
        "context_length_exceeded",
    ]


def test_the_end_of_a_source_is_told_in_words(web: Web) -> None:
    deleted, empty = web.submit("a"), web.submit("a")
    first, second = derived(web, deleted), derived(web, empty)
    assert web.call("DELETE", f"/v1/jobs/{deleted}").status_code == 204
    web.post(f"/v1/jobs/{empty}/cancel")
    settle(web)
    for made, why, source in (
        (first, "source_deleted", deleted),
        (second, "source_empty", empty),
    ):
        shown = job(web, made)
        assert (shown["status"], shown["cancelled_by"]) == ("cancelled", why)
        assert shown["error"]["code"] == why and source in shown["error"]["message"]
        assert shown["finished_at"] and shown["waiting_for"] is None
        assert web.get(f"/v1/jobs/{made}/items").json["data"] == []
        assert web.get(f"/v1/jobs/{made}/results.csv").status_code == 200


def test_what_no_rows_could_make_is_refused_at_once(web: Web) -> None:
    source = web.submit("a")
    before = web.job_keys()
    every = {"jobs": [source], "rows": "all"}
    cases: list[tuple[dict[str, Any], int, str, str]] = [
        ({"template": None}, 422, "missing_field", "template"),
        ({"template": {"prompt": "{{output_a}}"}}, 422, "invalid_value", "template"),
        ({"template": {"prompt": "{{output"}}, 422, "invalid_template", "template.prompt"),
        ({"input_from": {"jobs": []}}, 422, "invalid_value", "input_from.jobs"),
        ({"input_from": {"jobs": [source] * 3}}, 422, "invalid_value", "input_from.jobs"),
        (
            {"input_from": every},
            422,
            "invalid_value",
            "input_from.rows",
        ),
        ({"input_from": {"jobs": ["job_0none"]}}, 404, "source_not_found", "input_from.jobs.0"),
        ({"input_from": {"jobs": ["a:b"]}}, 404, "source_not_found", "input_from.jobs.0"),
        ({"prompts": ["a"]}, 422, "invalid_value", "prompts"),
        ({"input_file": "file-1"}, 422, "invalid_value", "input_file"),
        ({"model": "nobody"}, 404, "model_not_found", "model"),
        ({"params": {"output": {"json": True}}}, 422, "unsupported", "params.output"),
        ({"deadline": "2001-01-01T00:00:00Z"}, 422, "out_of_range", "deadline"),
    ]
    for fields, status, code, field in cases:
        answer = derive(web, source, **fields)
        problem = answer.json
        assert (answer.status_code, problem["code"]) == (status, code), answer.text
        assert field in {error.get("field") for error in problem["errors"]}, answer.text
    assert web.job_keys() == before
    for path in ("/v1/jobs/check", "/v1/jobs/preview", "/v1/sweeps"):
        body = {"input_from": {"jobs": [source]}, "template": TEMPLATE}
        answer = web.post(path, json=body)
        assert answer.status_code == 422
        error = next(each for each in answer.json["errors"] if each["field"] == "input_from")
        assert "is for POST /v1/jobs only" in error["message"]


def test_a_judge_without_sources_is_refused(web: Web) -> None:
    answer = web.post("/v1/jobs", json={"prompts": ["a"], "judge": "pairs"})
    (error,) = answer.json["errors"]
    assert (answer.status_code, error["field"]) == (422, "judge")
    assert "judge needs input_from" in error["message"]


def test_another_tenants_job_is_not_found(web: Web) -> None:
    source = web.submit("a")
    key = web.services.api_keys.create_key("other")
    body = {"input_from": {"jobs": [source]}, "template": TEMPLATE}
    foreign = web.post("/v1/jobs", json=body, key=key)
    unknown = web.post(
        "/v1/jobs", json=body | {"input_from": {"jobs": ["job_0" + "0" * 20]}}, key=key
    )
    assert foreign.status_code == unknown.status_code == 404
    assert foreign.json["code"] == unknown.json["code"]


def test_the_same_key_makes_one(web: Web) -> None:
    source = web.submit("a")
    headers = {"Idempotency-Key": "k"}
    body = {"input_from": {"jobs": [source]}, "template": TEMPLATE}
    first = web.post("/v1/jobs", json=body, headers=headers)
    again = web.post("/v1/jobs", json=body, headers=headers)
    assert first.json["id"] == again.json["id"]
    assert again.headers["Idempotent-Replayed"] == "true"
    other = web.post("/v1/jobs", json=body | {"priority": 2}, headers=headers)
    assert (other.status_code, other.json["code"]) == (422, "idempotency_key_reused")
    web.call("DELETE", f"/v1/jobs/{source}")
    late = web.post("/v1/jobs", json=body, headers=headers)
    assert late.json["id"] == first.json["id"], "whatever became of its source"


def test_no_room_postpones_it(make_web: Any) -> None:
    web = make_web(max_queued_items=2)
    source = web.submit("a", "b")
    answer_all(web, "1", "2")
    blocking = web.submit("c")
    made = derived(web, source)
    settle(web)
    assert job(web, made)["waiting_for"] == "job"
    answer_all(web, "3")
    web.services.redis.zadd("pm:derived:line:acme", {made: 1})
    settle(web)
    assert job(web, made)["counts"]["total"] == 2
    assert job(web, blocking)["status"] == "completed"


def test_more_rows_than_may_ever_wait_are_refused(make_web: Any) -> None:
    web = make_web(max_queued_items=1)
    first = [web.submit("a")]
    answer_all(web, "1")
    web.services.redis.hset("pm:queued:acme", "items", 0)
    big = make_web(max_queued_items=100)
    big.key = web.key
    source = big.submit("a", "b")
    answer_all(big, "1", "2")
    made = derived(web, source)
    settle(web)
    shown = job(web, made)
    assert (shown["cancelled_by"], shown["error"]["field"]) == ("refused", "input_from")
    assert first


def test_it_can_be_run_again_and_derived_from_in_turn(web: Web) -> None:
    source = web.submit("a", "b")
    second = derived(web, source)
    third = derived(web, second, template={"prompt": "third {{output}} of {{prompt}}"})
    answer_all(web, "1", "2")
    settle(web)
    answer_all(web, "3", "4")
    settle(web)
    assert rendered(web, third) == ["third 3 of judge 1", "third 4 of judge 2"]
    again = web.post(f"/v1/jobs/{second}/rerun", json={"params": {"max_tokens": 3}})
    assert again.status_code == 202, again.text
    assert rendered(web, again.json["id"]) == ["judge 1", "judge 2"]


@pytest.mark.parametrize("template", [TEMPLATE, PAIR])
def test_the_template_names_what_the_sources_have(web: Web, template: Any) -> None:
    source = web.submit("a")
    jobs = [source] * (2 if template is TEMPLATE else 1)
    assert derive(web, *jobs, template=template).status_code == 422
