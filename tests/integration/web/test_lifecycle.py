"""What may be wished of a live job, and of one that is over."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.web import Web


def flags(web: Web, job: str) -> dict[str, bool]:
    return web.get(f"/v1/jobs/{job}").json["flags"]


def test_a_paused_job_waits_until_it_is_resumed(web: Web) -> None:
    job = web.submit(*"abc")
    worker = web.worker()
    assert web.post(f"/v1/jobs/{job}/pause").status_code == 200
    assert flags(web, job) == {"cancel_requested": False, "paused": True}
    assert worker.take(3).runs == []
    web.post(f"/v1/jobs/{job}/resume")
    worker.run()
    assert web.get(f"/v1/jobs/{job}").json["status"] == "completed"


def test_priority_and_deadline_of_a_live_job_can_be_changed(web: Web) -> None:
    job = web.submit("a")
    answer = web.call(
        "PATCH", f"/v1/jobs/{job}", json={"priority": 3, "deadline": "2090-01-01T00:00:00Z"}
    )
    assert (answer.json["priority"], answer.json["deadline"]) == (3, "2090-01-01T00:00:00Z")
    answer = web.call("PATCH", f"/v1/jobs/{job}", json={"deadline": None})
    assert (answer.json["priority"], answer.json["deadline"]) == (3, None)


def test_whole_numbers_of_a_job_may_have_a_fraction_of_zeros(web: Web) -> None:
    body = {"items": [{"prompt_ids": [1.0, 2]}], "priority": 1.0, "limits": {"tokens": 5.0}}
    job = web.post("/v1/jobs", json=body).json
    assert (job["priority"], job["limits"]["tokens"]) == (1, 5)
    edit = {"priority": 2.0, "limits": {"tokens": 6.0}}
    edited = web.call("PATCH", f"/v1/jobs/{job['id']}", json=edit).json
    assert (edited["priority"], edited["limits"]["tokens"]) == (2, 6)
    assert web.post("/v1/jobs", json=body | {"priority": 1.5}).json["code"] == "wrong_type"


@pytest.mark.parametrize(
    "body", [{"priority": 11}, {"priority": "1"}, {"deadline": "soon"}, {"model": "x"}]
)
def test_a_bad_change_is_refused_whole(web: Web, body: dict[str, object]) -> None:
    job = web.submit("a")
    assert web.call("PATCH", f"/v1/jobs/{job}", json={"priority": 2} | body).status_code == 422
    assert web.get(f"/v1/jobs/{job}").json["priority"] == 0


def test_items_can_be_added_to_a_live_job(web: Web) -> None:
    job = web.submit("a")
    answer = web.post(f"/v1/jobs/{job}/items", json={"items": [{"prompt": "b", "custom_id": "x"}]})
    assert (answer.status_code, answer.json["counts"]["total"]) == (202, 2)
    again = web.post(f"/v1/jobs/{job}/items", json={"items": [{"prompt": "b", "custom_id": "x"}]})
    assert (again.status_code, again.json["code"]) == (422, "duplicate_custom_id")
    web.worker().run()
    assert web.get(f"/v1/jobs/{job}").json["counts"]["succeeded"] == 2


def test_what_is_over_cannot_be_changed(web: Web) -> None:
    job = web.submit("a")
    web.worker().run()
    for answer in (
        web.post(f"/v1/jobs/{job}/pause"),
        web.post(f"/v1/jobs/{job}/items", json={"prompts": ["b"]}),
        web.call("PATCH", f"/v1/jobs/{job}", json={"priority": 1}),
    ):
        assert (answer.status_code, answer.json["code"]) == (409, "job_over")


def test_failed_items_are_retried_as_a_linked_job_and_the_old_one_stays(web: Web) -> None:
    answer = web.post(
        "/v1/jobs",
        json={"items": [{"prompt": p, "custom_id": p} for p in "abc"], "metadata": {"k": 1}},
    )
    job, worker = answer.json["id"], web.worker()
    assert web.post(f"/v1/jobs/{job}/retry").json["code"] == "job_not_over"
    worker.finish(worker.take(2), error="engine_error")
    worker.run()
    answer = web.post(f"/v1/jobs/{job}/retry")
    assert (answer.status_code, answer.json["retry_of"], answer.json["counts"]["total"]) == (
        202,
        job,
        2,
    )
    assert answer.json["metadata"] == {"k": 1}
    rows = web.get(f"/v1/jobs/{answer.json['id']}/items").json["data"]
    assert [row["custom_id"] for row in rows] == ["a", "b"]
    before = web.get(f"/v1/jobs/{job}").json
    assert (before["counts"]["failed"], before["retried_by"]) == (2, answer.json["id"])


def test_a_job_names_no_retry_that_is_gone(web: Web) -> None:
    job = web.submit("a")
    web.worker().run(error="engine_error")
    first, last = (web.post(f"/v1/jobs/{job}/retry").json["id"] for _ in range(2))
    for gone, named in ((first, last), (last, None)):
        web.call("DELETE", f"/v1/jobs/{gone}")
        assert web.get(f"/v1/jobs/{job}").json["retried_by"] == named


def test_a_retry_outlives_the_job_that_it_retries(web: Web) -> None:
    job, worker = web.submit("a"), web.worker()
    worker.run(error="engine_error")
    again = web.post(f"/v1/jobs/{job}/retry").json["id"]
    web.call("DELETE", f"/v1/jobs/{job}")
    worker.run()
    assert web.get(f"/v1/jobs/{again}").json["status"] == "completed"
    assert web.get(f"/v1/jobs/{job}").status_code == 404
    web.call("DELETE", f"/v1/jobs/{again}")
    assert web.services.redis.keys("pm:job:*") == []


def test_a_job_without_failures_has_nothing_to_retry(web: Web) -> None:
    job = web.submit("a")
    web.worker().run()
    assert web.post(f"/v1/jobs/{job}/retry").json["code"] == "nothing_failed"


def test_a_job_stops_at_its_own_limits_and_says_which(web: Web) -> None:
    job = web.post("/v1/jobs", json={"prompts": ["a b c"] * 5, "limits": {"tokens": 4}}).json["id"]
    worker = web.worker()
    worker.run(2)
    view = web.get(f"/v1/jobs/{job}").json
    assert (view["status"], view["cancelled_by"]) == ("cancelled", "token_budget")
    assert view["counts"]["succeeded"] + view["counts"]["cancelled"] == 5


@pytest.mark.parametrize(
    "limit", [{"max_queued_items": 3}, {"max_queued_tokens": 300}, {"max_queued_bytes": 170}]
)
def test_a_tenant_with_too_much_waiting_is_told_to_come_again(
    make_web: Callable[..., Web], limit: dict
) -> None:
    web = make_web(**limit)
    job = web.submit("a", "b")
    before = web.job_keys()
    answer = web.post("/v1/jobs", json={"prompts": ["c", "d"]})
    assert (answer.status_code, answer.json["code"], "Retry-After" in answer.headers) == (
        429,
        "too_many_queued",
        True,
    )
    assert web.post(f"/v1/jobs/{job}/items", json={"prompts": ["c", "d"]}).status_code == 429
    assert web.job_keys() == before
    web.worker().run()
    web.submit("c", "d")


def test_limits_of_a_live_job_can_be_set_moved_and_taken_away(web: Web) -> None:
    job = web.post(
        "/v1/jobs", json={"prompts": ["a b c"] * 5, "limits": {"tokens": 400, "error_rate": 0.5}}
    ).json["id"]
    answer = web.call("PATCH", f"/v1/jobs/{job}", json={"limits": {"error_rate": 0.25}})
    assert answer.json["limits"] == {"tokens": 400, "error_rate": 0.25}, "what is not named stays"
    answer = web.call("PATCH", f"/v1/jobs/{job}", json={"limits": {"tokens": None}})
    assert answer.json["limits"] == {"tokens": None, "error_rate": 0.25}
    web.worker().run(2)
    # Ten are used by then.
    answer = web.call("PATCH", f"/v1/jobs/{job}", json={"limits": {"tokens": 9}})
    assert (answer.json["status"], answer.json["cancelled_by"]) == ("cancelled", "token_budget")
    assert answer.json["counts"]["succeeded"] == 2, "what is finished stays"


def test_a_full_house_is_a_503_for_everybody(make_web: Callable[..., Web]) -> None:
    web = make_web(max_total_items=3)
    web.submit("a", "b", "c")
    other = web.services.api_keys.create_key("other")
    answer = web.call("POST", "/v1/jobs", key=other, json={"prompts": ["d"]})
    assert (answer.status_code, answer.json["code"], "Retry-After" in answer.headers) == (
        503,
        "queue_full",
        True,
    )
