"""The jobs of a sweep are made together or not at all, within the limits, and it ends with them."""

from __future__ import annotations

from typing import Any

import pytest

from common.settings import Settings
from common.store.scripts import Scripts
from tests.support.sweeps import kept, made, sweep
from tests.support.waiting import wait_until
from tests.support.web import Web
from web.intake import sweep as module


def limited(redis_url: str, **limits: int) -> Web:
    return Web(Settings.load(redis_url=redis_url, **limits))


def test_combinations_times_items_count_against_what_may_wait(redis_url: str) -> None:
    web = limited(redis_url, max_queued_items=8)
    before = kept(web)
    refused = sweep(web, {"temperature": [0, 1, 2]}, ["a", "b", "c"])
    assert (refused.status_code, refused.json["code"]) == (413, "too_large")
    assert "over 8" in refused.json["detail"]
    assert kept(web) == before
    made(web, {"temperature": [0, 1]}, ["a", "b", "c", "d"])
    refused = sweep(web, {"temperature": [0]}, ["a"])
    assert (refused.status_code, refused.json["code"]) == (429, "too_many_queued")


def test_a_sweep_that_does_not_fit_beside_what_waits_is_refused_whole(redis_url: str) -> None:
    web = limited(redis_url, max_queued_items=8)
    web.submit("a", "b", "c")
    before = kept(web)
    refused = sweep(web, {"temperature": [0, 1, 2]}, ["a", "b"])
    assert (refused.status_code, refused.json["code"]) == (429, "too_many_queued")
    assert kept(web) == before
    made(web, {"temperature": [0, 1]}, ["a", "b"])


@pytest.mark.parametrize(
    ("limit", "status", "code"),
    [
        ({"max_queued_tokens": 500}, 429, "too_many_queued"),
        ({"max_queued_bytes": 100}, 429, "too_many_queued"),
        ({"max_stored_bytes": 100}, 429, "storage_full"),
        ({"max_total_items": 11}, 503, "queue_full"),
        ({"max_items": 1}, 413, "too_large"),
    ],
)
def test_every_limit_of_jobs_holds_for_all_of_a_sweep(
    redis_url: str, limit: dict[str, int], status: int, code: str
) -> None:
    web = limited(redis_url, **limit)
    before = kept(web)
    refused = sweep(web, {"temperature": [0, 1, 2, 3, 4, 5]})
    assert (refused.status_code, refused.json["code"]) == (status, code)
    assert kept(web) == before


def test_room_that_is_gone_when_the_jobs_are_made_refuses_all_of_them(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another request took it after the check."""
    web = limited(redis_url, max_queued_items=8)
    web.submit("a", "b", "c")
    before = kept(web)
    monkeypatch.setattr(module, "_check_room", lambda *all: None)
    refused = sweep(web, {"temperature": [0, 1, 2]}, ["a", "b"])
    assert (refused.status_code, refused.json["code"]) == (429, "too_many_queued")
    assert kept(web) == before


def test_the_same_key_and_content_are_the_same_sweep(web: Web) -> None:
    headers = {"Idempotency-Key": "k"}
    first, again = sweep(web, headers=headers), sweep(web, headers=headers)
    assert again.json == first.json
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    other = sweep(web, {"temperature": [0]}, headers=headers)
    assert (other.status_code, other.json["code"]) == (422, "idempotency_key_reused")
    assert len(web.get("/v1/sweeps").json["data"]) == 1


def test_two_submits_with_one_key_at_once_make_one_sweep(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second looks for the key before the first has made its jobs."""
    monkeypatch.setattr(module, "_replayed", lambda *all: None)
    headers = {"Idempotency-Key": "k"}
    prompts = [f"p {i}" for i in range(100)]
    first = sweep(web, prompts=prompts, headers=headers)
    before = kept(web)
    second = sweep(web, prompts=prompts, headers=headers)
    assert (second.status_code, second.json) == (202, first.json)
    other = sweep(web, prompts=prompts[1:], headers=headers)
    assert (other.status_code, other.json["code"]) == (422, "idempotency_key_reused")
    assert kept(web) == before


def test_a_submit_that_was_killed_before_its_jobs_were_made_can_be_sent_again(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> Any:
        raise SystemExit

    headers = {"Idempotency-Key": "k"}
    prompts = [f"p {i}" for i in range(200)]
    with monkeypatch.context() as patch:
        patch.setattr(Scripts, "together", killed)
        patch.setattr("common.store.upload_stage.Stage.discard", lambda self: None)
        with pytest.raises(SystemExit):
            sweep(web, prompts=prompts, headers=headers)
    assert web.get("/v1/jobs").json["data"] == []
    found = made(web, prompts=prompts, headers=headers)
    assert [job["counts"]["total"] for job in found["jobs"]] == [200] * 4


def test_a_submit_that_was_killed_after_its_jobs_were_made_is_answered_with_them(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> Any:
        raise SystemExit

    headers = {"Idempotency-Key": "k"}
    with monkeypatch.context() as patch:
        patch.setattr(module, "ring_workers", killed)
        with pytest.raises(SystemExit):
            sweep(web, headers=headers)
    jobs = {job["id"] for job in web.get("/v1/jobs").json["data"]}
    assert len(jobs) == 4
    again = sweep(web, headers=headers)
    assert {job["id"] for job in again.json["jobs"]} == jobs
    assert len(web.get("/v1/jobs").json["data"]) == 4


def test_a_transaction_that_is_sent_again_makes_nothing_twice(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reply was lost, and the client sent it again."""
    together = Scripts.together

    def twice(self: Scripts, calls: Any) -> Any:
        calls = list(calls)
        together(self, calls)
        return together(self, calls)

    monkeypatch.setattr(Scripts, "together", twice)
    made(web, headers={"Idempotency-Key": "k"})
    assert len(web.get("/v1/jobs").json["data"]) == 4
    assert web.services.redis.hget("pm:queued:acme", "items") == b"8"


def test_deleting_a_sweep_deletes_its_jobs_and_all_that_is_of_it(web: Web) -> None:
    before = kept(web)
    found = made(web)
    assert web.call("DELETE", f"/v1/sweeps/{found['id']}").status_code == 204
    assert kept(web) == before
    assert web.get(f"/v1/sweeps/{found['id']}").status_code == 404


def test_a_sweep_ends_with_its_last_job(web: Web) -> None:
    before = kept(web)
    found = made(web, {"temperature": [0, 0.5, 1]}, headers={"Idempotency-Key": "k"})
    first, *rest = (job["id"] for job in found["jobs"])
    web.call("DELETE", f"/v1/jobs/{first}")
    shown = web.get(f"/v1/sweeps/{found['id']}").json
    assert [job["params"] for job in shown["jobs"]] == [{"temperature": 0.5}, {"temperature": 1}]
    for job_id in rest:
        web.call("DELETE", f"/v1/jobs/{job_id}")
    assert web.get(f"/v1/sweeps/{found['id']}").status_code == 404
    assert kept(web) - before == {"pm:sweepidem:acme:k"}
    assert 86_000 < web.services.redis.ttl("pm:sweepidem:acme:k") <= 86_400
    again = sweep(web, {"temperature": [0, 0.5, 1]}, headers={"Idempotency-Key": "k"})
    assert (again.status_code, again.json["code"]) == (409, "sweep_deleted")


def test_retention_ends_a_sweep(redis_url: str) -> None:
    web = Web(Settings.load(redis_url=redis_url, retention_days=0.5 / 86_400))
    found = made(web, {"temperature": [0, 1]})
    web.worker().run()

    def is_gone() -> bool:
        web.services.redis.hset("pm:tick", "at", str(web.services.store.now() - 1000))
        web.services.fleet.tick(5.0, 3)
        return web.get(f"/v1/sweeps/{found['id']}").status_code == 404

    wait_until(is_gone)
    assert web.services.redis.keys("pm:sweep:*") == []


def test_jobs_that_an_older_part_removed_leave_their_sweep(web: Web) -> None:
    found = made(web, {"temperature": [0, 1]})
    for job in found["jobs"]:
        for key in web.services.redis.keys(f"pm:job:{job['id']}*"):
            web.services.redis.delete(key)
    assert web.get(f"/v1/sweeps/{found['id']}").json["jobs"] == []
    web.services.redis.hset("pm:tick", "at", str(web.services.store.now() - 1000))
    web.services.fleet.tick(5.0, 3)
    assert web.get(f"/v1/sweeps/{found['id']}").status_code == 404
    web.services.redis.flushall()
