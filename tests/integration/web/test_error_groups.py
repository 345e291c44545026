"""Failures of a job by code and message, of jobs of any size."""

from __future__ import annotations

from typing import Any

import pytest

from common.store.incarnation import Result
from common.store.packing import pack
from common.types import ItemState
from tests.support.web import Web
from web.services import failures


def fail(web: Web, *errors: tuple[str, str] | None) -> None:
    """Hand in a result for each: failed with (code, message), or good."""
    worker = web.worker()
    runs = worker.take(len(errors)).runs
    places = [(run, run.first + offset) for run in runs for offset in range(run.count)]
    results = []
    for (run, index), error in zip(places, errors, strict=True):
        stored = {"error": {"code": error[0], "message": error[1]} if error else None}
        state = ItemState.FAILED if error else ItemState.SUCCEEDED
        results.append(Result(run.job_id, index, run.attempt, state, 1, 1, pack(stored)))
    worker.incarnation.exchange(results, 0)


def groups(web: Web, job: str) -> list[tuple[Any, ...]]:
    found = web.get(f"/v1/jobs/{job}/errors").json
    assert found["complete"]
    assert sum(group["count"] for group in found["data"]) == found["failed"]
    return [(each["code"], each["message"], each["count"], each["first"]) for each in found["data"]]


def test_failures_that_differ_only_in_numbers_are_one_group(web: Web) -> None:
    job = web.submit(*"abcdefg")
    fail(web, ("oom", "step 12 of 1,024 at 0x7fA"), None, ("oom", "step 7 of 9.5 at 0x0"))
    fail(web, ("oom", "other"), ("lost", "step 1 of 2 at 0x1"), ("oom", "step 9 of 1 at 0x2"))
    assert groups(web, job) == [
        ("oom", "step N of N at N", 3, [0, 2, 5]),
        ("oom", "other", 1, [3]),
        ("lost", "step N of N at N", 1, [4]),
    ]
    example = web.get(f"/v1/jobs/{job}/errors").json["data"][0]["example"]
    assert example == "step 12 of 1,024 at 0x7fA"


def test_a_job_without_failures_has_no_groups(web: Web) -> None:
    assert groups(web, web.submit()) == []
    job = web.submit("a")
    fail(web, None)
    assert groups(web, job) == []


def test_a_look_reads_only_what_failed_since_the_last(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    blobs = web.services.store.result_blobs

    def note(job_id: str, indices: list[int]) -> list[bytes | None]:
        read.extend(indices)
        return blobs(job_id, indices)

    monkeypatch.setattr(web.services.store, "result_blobs", note)
    job = web.submit(*"abcdef")
    fail(web, ("e", "m"), None, ("e", "m"))
    assert groups(web, job) == [("e", "m", 2, [0, 2])]
    fail(web, None, ("e", "m"))
    assert groups(web, job) == groups(web, job) == [("e", "m", 3, [0, 2, 4])]
    assert read == [0, 2, 4]


def test_groups_are_few_however_many_messages_there_are(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "MOST_GROUPS", 3)
    job = web.submit(*["a"] * 26)
    letters = "abcdefghijklmnopqrstuvwxyz"
    fail(web, *[("e", f"message {letter} " + "x" * 10_000) for letter in letters])
    found = groups(web, job)
    assert found[0] == ("e", "", 23, list(range(3, 13)))
    assert [len(message) for _, message, _, _ in found[1:]] == [500, 500, 500]


def test_grouping_that_takes_too_long_goes_on_with_the_next_look(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "BUDGET", -1.0)
    monkeypatch.setattr(failures, "FEWEST", 1)
    monkeypatch.setattr(failures, "BATCH", 4)
    job = web.submit(*["a"] * 10)
    fail(web, *[("e", f"at {place}") for place in range(10)])
    looks = [web.get(f"/v1/jobs/{job}/errors").json for _ in range(4)]
    assert [look["complete"] for look in looks] == [False, False, True, True]
    assert [look["data"][0]["count"] for look in looks] == [4, 8, 10, 10]


def test_a_damaged_result_is_a_group_of_its_own(web: Web) -> None:
    job = web.submit("a", "b")
    fail(web, ("e", "m"), ("e", "m"))
    web.services.redis.hset(f"pm:job:{job}:out", "0", b"\x00 not a result")
    assert [group[0] for group in groups(web, job)] == ["unreadable_record", "e"]


def test_errors_of_another_tenants_job_are_not_found(web: Web) -> None:
    job = web.submit("a")
    other = web.services.api_keys.create_key("rival")
    assert web.get(f"/v1/jobs/{job}/errors", key=other).status_code == 404
