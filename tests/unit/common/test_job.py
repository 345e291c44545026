"""A stored job as it is parsed."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields

import pytest

from common.store.job import Job, parse_job
from common.store.records import Unreadable
from common.types import JobState

NUMBERS = (
    *("total", "pending", "running", "succeeded", "failed", "cancelled", "expired", "cursor"),
    *("cost", "weight", "n_max", "prompt_tokens", "completion_tokens", "bytes", "priority"),
    *("paused", "cancel_requested", "created_at", "retention"),
)
STORED = {name.encode(): b"1" for name in NUMBERS} | {
    b"tenant": b"acme",
    b"model": b"m",
    b"digest": b"d",
    b"status": b"running",
    b"spec": b'{"webhook": null}',
}


def test_every_field_is_set() -> None:
    assert set(vars(parse_job("job_0a", STORED))) == {field.name for field in fields(Job)}


def test_what_the_first_versions_did_not_store_has_a_value() -> None:
    job = parse_job("job_0a", STORED)
    assert (job.surplus, job.streams, job.token_budget, job.error_rate) == (0, 0, 0, 0)
    assert (job.indexed, job.interactive, job.hooks, job.n_min) == (False, False, (), None)
    assert (job.started_at, job.finished_at, job.deadline) == (None, None, None)


def test_flags_hooks_and_states_are_no_strings() -> None:
    job = parse_job("job_0a", STORED | {b"hooks": b"job.started,job.finished", b"deadline": b"0"})
    assert job.status is JobState.RUNNING
    assert (job.paused, job.cancel_requested) == (True, True)
    assert job.hooks == ("job.started", "job.finished")
    assert job.deadline is None, "an edit took it away"


def test_a_job_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        parse_job("job_0a", STORED).total = 2  # type: ignore[misc]


@pytest.mark.parametrize("spec", [b"{", b"[]", b"\xff"])
def test_a_damaged_spec_is_noticed_where_it_is_read(spec: bytes) -> None:
    job = parse_job("job_0a", STORED | {b"spec": spec})
    with pytest.raises(Unreadable, match="job_0a"):
        _ = job.spec


def test_a_key_that_holds_no_hash_is_no_job() -> None:
    with pytest.raises(ValueError, match="WRONGTYPE"):
        parse_job("job_0a", ValueError("WRONGTYPE"))
