"""Jobs are sorted by more than time: of the newest so many, within a bounded time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from common.store import keys
from tests.support.sweeps import made
from tests.support.web import Web
from web.jobs import job_list

NAMES = ["pear", "Apple", None, "\u00c4pfel", "apple"]  # in order of submission


@pytest.fixture
def jobs(web: Web) -> Iterator[list[str]]:
    """Of 1 to 5 items; the second and the fourth ran, for 20 and for 4 seconds."""
    ids = [
        web.submit(*"abcde"[: place + 1], metadata={"name": name} if name else {})
        for place, name in enumerate(NAMES)
    ]
    for job, seconds in ((ids[1], 20), (ids[3], 4)):
        started = int(web.services.redis.hget(keys.job(job), "created_at") or 0)
        ended = {"started_at": started, "finished_at": started + seconds * 1000}
        web.services.redis.hset(keys.job(job), mapping={**ended, "status": "completed"})
    yield ids
    for job in ids:
        if web.services.redis.hdel(keys.job(job), "started_at", "finished_at"):
            web.services.redis.hset(keys.job(job), "status", "queued")


def listed(web: Web, jobs: list[str], order: str, **query: str) -> list[int]:
    answer = web.get("/v1/jobs", query_string={"order": order, **query})
    assert answer.status_code == 200, answer.text
    assert answer.json["sorted"] == {"count": answer.json["sorted"]["count"], "all": True}
    return [jobs.index(job["id"]) for job in answer.json["data"]]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("name", [4, 1, 0, 3, 2]),
        ("-name", [3, 0, 4, 1, 2]),
        ("items", [0, 1, 2, 3, 4]),
        ("-items", [4, 3, 2, 1, 0]),
        ("duration", [3, 1, 4, 2, 0]),
        ("-duration", [1, 3, 4, 2, 0]),
        ("status", [4, 2, 0, 3, 1]),
        ("-status", [3, 1, 4, 2, 0]),
    ],
)
def test_jobs_are_sorted_and_of_equal_ones_the_newest_is_first(
    web: Web, jobs: list[str], order: str, expected: list[int]
) -> None:
    assert listed(web, jobs, order) == expected
    assert web.get("/v1/jobs").json["sorted"] is None


def test_pages_of_a_sorted_list_go_on_from_the_last_job(web: Web, jobs: list[str]) -> None:
    query, seen = {"order": "-items", "limit": "2"}, []
    while True:
        answer = web.get("/v1/jobs", query_string=query).json
        seen += [jobs.index(job["id"]) for job in answer["data"]]
        if not answer["has_more"]:
            break
        query["after"] = answer["after"]
    assert seen == [4, 3, 2, 1, 0]
    web.call("DELETE", f"/v1/jobs/{query['after']}")
    late = web.get("/v1/jobs", query_string=query)
    assert late.status_code == 404 and "sort again" in late.json["detail"]


def test_only_the_newest_are_sorted_and_the_answer_says_so(
    web: Web, jobs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_list, "MOST_SORTED", 3)
    answer = web.get("/v1/jobs", query_string={"order": "items"}).json
    assert [jobs.index(job["id"]) for job in answer["data"]] == [2, 3, 4]
    assert answer["sorted"] == {"count": 3, "all": False} and not answer["has_more"]
    assert listed(web, jobs, "items", search="apple") == [1, 4]
    monkeypatch.setattr(job_list, "BUDGET", 0.0)
    answer = web.get("/v1/jobs", query_string={"order": "items"}).json
    assert answer["sorted"] == {"count": 1, "all": False}


def test_a_sorted_list_has_no_jobs_of_others(web: Web, jobs: list[str]) -> None:
    other = web.services.api_keys.create_key("other")
    query = {"order": "name"}
    assert web.get("/v1/jobs", key=other, query_string=query).json["data"] == []
    late = web.get("/v1/jobs", key=other, query_string={**query, "after": jobs[0]})
    assert late.status_code == 404


def test_jobs_are_found_by_their_sweep(web: Web, jobs: list[str]) -> None:
    first, second = made(web), made(web)
    for sweep in (first, second):
        answer = web.get("/v1/jobs", query_string={"sweep": sweep["id"]}).json
        assert {job["id"] for job in answer["data"]} == {job["id"] for job in sweep["jobs"]}
        assert {job["sweep"] for job in answer["data"]} == {sweep["id"]}
    other = web.services.api_keys.create_key("other")
    assert web.get("/v1/jobs", key=other, query_string={"sweep": first["id"]}).json["data"] == []
