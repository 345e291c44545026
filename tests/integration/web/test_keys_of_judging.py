"""Evaluations and studies that are sent again under their key are made once."""

from __future__ import annotations

import io
import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.people import finished
from tests.support.web import Answer, Web

HEADERS = {"Idempotency-Key": "night-7"}
RULES = [{"metric": "rouge_l", "min": 0}]


def evaluate(web: Web, job: str, **body: object) -> Answer:
    return web.post(f"/v1/jobs/{job}/evaluations", json=body, headers=HEADERS)


def of_the_first(text: str) -> list[str | None]:
    """References for a job of three items, of which only the first has one."""
    return [text, None, None]


def study(web: Web, *jobs: str, **more: object) -> Answer:
    body = {"jobs": jobs, "kind": "pairs", "criteria": ["fluency"], **more}
    return web.post("/v1/studies", json=body, headers=HEADERS)


def assert_replayed(first: Answer, again: Answer) -> None:
    assert again.status_code == first.status_code
    assert again.json["id"] == first.json["id"]
    assert again.headers["Location"] == first.headers["Location"]
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"


def test_the_same_key_and_content_is_one_evaluation(web: Web) -> None:
    job = finished(web, "one")
    first = evaluate(web, job, metrics=["length_chars"])
    assert_replayed(first, evaluate(web, job, metrics=["length_chars"]))
    assert len(web.get(f"/v1/jobs/{job}/evaluations").json["data"]) == 1
    assert 86_000 < web.services.redis.ttl("pm:evalidem:acme:night-7") <= 86_400


@pytest.mark.parametrize(
    "other",
    [
        {"metrics": ["chrf"]},
        {"metrics": ["rouge_l"], "references": of_the_first("x")},
        {"metrics": ["rouge_l"]},
        {
            "metrics": ["rouge_l"],
            "references": of_the_first("y"),
            "gate": [{"metric": "rouge_l", "min": 0}],
        },
    ],
)
def test_an_evaluations_key_is_refused_for_other_content(web: Web, other: dict) -> None:
    job = finished(web, "one")
    assert evaluate(web, job, metrics=["rouge_l"], references=of_the_first("y")).status_code == 202
    refused = evaluate(web, job, **other)
    assert (refused.status_code, refused.json["code"]) == (422, "idempotency_key_reused")
    elsewhere = evaluate(
        web, finished(web, "one"), metrics=["rouge_l"], references=of_the_first("y")
    )
    assert elsewhere.json["code"] == "idempotency_key_reused"
    assert len(web.services.redis.keys("pm:eval:*:refs")) == 1


def test_references_of_a_file_are_part_of_the_content(web: Web) -> None:
    job = finished(web, "one")

    def send(gold: str) -> Answer:
        parts = {
            "evaluation": json.dumps({"metrics": ["rouge_l"]}),
            "file": (io.BytesIO(f"reference,x\n{gold},1\n,2\n,3\n".encode()), "gold.csv"),
        }
        return web.post(f"/v1/jobs/{job}/evaluations", data=parts, headers=HEADERS)

    first = send("a text")
    assert_replayed(first, send("a text"))
    assert_replayed(
        first, evaluate(web, job, metrics=["rouge_l"], references=of_the_first("a text"))
    )
    assert send("another").json["code"] == "idempotency_key_reused"


def test_a_key_of_an_evaluation_answers_as_before_where_it_could_not_begin_now(web: Web) -> None:
    job = finished(web, "one")
    baseline = finished(web, "other")
    gate = [{"metric": "length_chars", "baseline": baseline, "max_drop": 1}]
    first = evaluate(web, job, gate=gate)
    web.call("DELETE", f"/v1/jobs/{baseline}")
    assert_replayed(first, evaluate(web, job, gate=gate))


def test_the_same_key_and_content_is_one_study_also_when_its_jobs_are_gone(web: Web) -> None:
    jobs = [finished(web, "one"), finished(web, "two")]
    first = study(web, *jobs)
    assert_replayed(first, study(web, *jobs))
    for job in jobs:
        web.call("DELETE", f"/v1/jobs/{job}")
    assert_replayed(first, study(web, *jobs))
    assert len(web.get("/v1/studies").json["data"]) == 1
    assert len(web.services.redis.keys("pm:study:*:rows")) == 1
    refused = study(web, *jobs, sample=3)
    assert (refused.status_code, refused.json["code"]) == (422, "idempotency_key_reused")


def test_a_key_whose_study_was_deleted_says_so_and_is_free_for_another(web: Web) -> None:
    jobs = [finished(web, "one"), finished(web, "two")]
    made = study(web, *jobs).json["id"]
    web.call("DELETE", f"/v1/studies/{made}")
    gone = study(web, *jobs)
    assert (gone.status_code, gone.json["code"]) == (409, "study_deleted")
    assert study(web, *jobs, sample=3).status_code == 201
    assert not web.services.redis.keys(f"pm:study:{made}*")


def test_presses_at_the_same_time_make_one(web: Web) -> None:
    jobs = [finished(web, "one"), finished(web, "two")]
    with ThreadPoolExecutor(8) as pool:
        studies = list(pool.map(lambda _: study(web, *jobs).json["id"], range(8)))
        begun = [
            answer.json["id"]
            for answer in pool.map(
                lambda _: evaluate(web, jobs[0], metrics=["length_chars"]), range(8)
            )
        ]
    assert (len(set(studies)), len(set(begun))) == (1, 1)
    assert len(web.services.redis.keys("pm:study:*:rows")) == 1


def test_keys_of_tenants_do_not_meet_and_keys_have_a_form(web: Web) -> None:
    job = finished(web, "one")
    mine = evaluate(web, job, metrics=["length_chars"])
    other = web.services.api_keys.create_key("other")
    theirs = web.post(
        f"/v1/jobs/{job}/evaluations",
        key=other,
        json={"metrics": ["length_chars"]},
        headers=HEADERS,
    )
    assert (mine.status_code, theirs.status_code) == (202, 404)
    for path in (f"/v1/jobs/{job}/evaluations", "/v1/studies"):
        body = {"jobs": [job], "kind": "scale", "criteria": ["a"]} if "studies" in path else {}
        bad = web.post(path, json=body, headers={"Idempotency-Key": "a b"})
        assert (bad.status_code, bad.json["errors"][0]["field"]) == (422, "Idempotency-Key")
