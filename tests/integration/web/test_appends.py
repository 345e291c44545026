"""`POST /v1/jobs/{id}/items`: requests at once, sent again, and past the limits."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.web import Answer, Web


def append(web: Web, job: str, key: str | None = None, **body: Any) -> Answer:
    headers = {"Idempotency-Key": key} if key else {}
    return web.post(f"/v1/jobs/{job}/items", json=body, headers=headers)


def at_once(count: int, call: Callable[[int], Answer]) -> list[Answer]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(call, range(count)))


def total(web: Web, job: str) -> int:
    return int(web.get(f"/v1/jobs/{job}").json["counts"]["total"])


def test_an_append_says_which_items_it_made(web: Web) -> None:
    job = web.submit("a", "b")
    answer = append(web, job, prompts=["c", "d", "e"])
    assert (answer.status_code, answer.json["added"]) == (202, {"first": 2, "count": 3})
    assert append(web, job, prompts=["f"]).json["added"] == {"first": 5, "count": 1}


def test_different_appends_at_once_are_all_taken_each_in_its_place(web: Web) -> None:
    job = web.submit("a")
    answers = at_once(8, lambda i: append(web, job, prompts=[f"{i} one", f"{i} two"]))
    assert sorted(answer.json["added"]["first"] for answer in answers) == list(range(1, 17, 2))
    rows = web.get(f"/v1/jobs/{job}/items").json["data"]
    for i, answer in enumerate(answers):
        first = answer.json["added"]["first"]
        assert [row["prompt"] for row in rows[first : first + 2]] == [f"{i} one", f"{i} two"]


def test_of_appends_at_once_with_one_custom_id_one_is_taken(web: Web) -> None:
    job = web.submit("a")
    answers = at_once(4, lambda _: append(web, job, items=[{"prompt": "b", "custom_id": "x"}]))
    assert sorted(answer.status_code for answer in answers) == [202, 422, 422, 422]
    assert total(web, job) == 2
    refused = next(answer for answer in answers if answer.status_code == 422)
    assert refused.json["errors"] == [
        {
            "code": "duplicate_custom_id",
            "message": "custom_id 'x' was used already, at the job",
            "field": "items.0.custom_id",
        }
    ]


def test_appends_at_once_with_one_key_are_one_append(web: Web) -> None:
    job = web.submit("a")
    answers = at_once(
        4,
        lambda _: append(web, job, "k", items=[{"prompt": "b", "custom_id": "x"}, {"prompt": "c"}]),
    )
    assert [answer.status_code for answer in answers] == [202] * 4
    assert [answer.json["added"] for answer in answers] == [{"first": 1, "count": 2}] * 4
    assert sorted(answer.headers.get("Idempotent-Replayed", "") for answer in answers) == [
        "",
        "true",
        "true",
        "true",
    ]
    assert total(web, job) == 3


def test_an_append_sent_again_after_the_job_is_over_is_answered_as_the_first(web: Web) -> None:
    job = web.submit("a")
    append(web, job, "k", prompts=["b"])
    append(web, job, prompts=["c"])
    web.worker().run()
    again = append(web, job, "k", prompts=["b"])
    assert (again.status_code, again.json["status"]) == (202, "completed")
    assert again.json["added"] == {"first": 1, "count": 1}


def test_a_key_with_other_content_is_refused(web: Web) -> None:
    job, other = web.submit("a"), web.submit("a")
    append(web, job, "k", prompts=["b"])
    for answer in (append(web, job, "k", prompts=["c"]), append(web, other, "k", prompts=["b"])):
        assert (answer.status_code, answer.json["code"]) == (422, "idempotency_key_reused")
    assert append(web, job, "no spaces", prompts=["b"]).status_code == 422
    assert (total(web, job), total(web, other)) == (2, 1)


def test_a_job_has_no_more_items_than_it_may_however_they_came(
    make_web: Callable[..., Web],
) -> None:
    web = make_web(max_items=10)
    job = web.submit(*"abcdefg")
    answers = at_once(4, lambda _: append(web, job, prompts=["x", "y"]))
    assert sorted(answer.status_code for answer in answers) == [202, 413, 413, 413]
    refused = next(answer.json for answer in answers if answer.status_code == 413)
    assert (refused["code"], refused["errors"][0]["field"]) == ("too_large", "items")
    assert append(web, job, prompts=["z"]).status_code == 202
    assert total(web, job) == 10


def test_a_job_streams_no_more_than_it_may_however_they_came(web: Web) -> None:
    items = [{"prompt": "a", "stream": True, "params": {"n": 8}}]
    job = str(web.post("/v1/jobs", json={"items": items * 63}).json["id"])
    assert append(web, job, items=items).status_code == 202
    refused = append(web, job, items=items)
    assert (refused.status_code, refused.json["code"]) == (422, "out_of_range")
    assert append(web, job, prompts=["b"]).status_code == 202


def test_a_job_made_before_custom_ids_were_kept_apart_refuses_those_it_has(web: Web) -> None:
    made = web.post("/v1/jobs", json={"items": [{"prompt": "a", "custom_id": "x"}]})
    job = str(made.json["id"])
    web.services.redis.hdel(f"pm:job:{job}", "indexed")
    for field in web.services.redis.hkeys(f"pm:job:{job}:in"):
        if field.startswith(b"#"):
            web.services.redis.hdel(f"pm:job:{job}:in", field)
    for custom_id, status in (("x", 422), ("y", 202), ("y", 422)):
        assert (
            append(web, job, items=[{"prompt": "b", "custom_id": custom_id}]).status_code == status
        )


@pytest.mark.parametrize("status", ["a 422", "a full queue"])
def test_a_refused_append_leaves_nothing(make_web: Callable[..., Web], status: str) -> None:
    web = make_web(max_queued_items=3)
    job = web.submit("a", "b")
    before = web.job_keys()
    body = {"prompts": ["c", "d"]} if status == "a full queue" else {"prompts": [""]}
    assert append(web, job, "k", **body).status_code in (422, 429)
    assert web.job_keys() == before
