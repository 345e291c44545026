"""The progress of a job where output is no terminal: lines, not silence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cli.client import Client
from cli.progress import show_progress, summary


def job(succeeded: int, failed: int = 0, **fields: Any) -> dict[str, Any]:
    counts = {"total": 5, "succeeded": succeeded, "failed": failed, "cancelled": 0, "expired": 0}
    flags = {"paused": False, "cancel_requested": False}
    found = {"id": "job_1", "counts": counts, "flags": flags, "waiting_for": None}
    return found | {"finished_at": None} | fields


def shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *jobs: dict[str, Any]
) -> list[str]:
    """What is printed of a job that stands like this at each look, 0.5 s apart."""
    times = iter(range(100))
    monkeypatch.setattr("cli.progress.time.monotonic", lambda: next(times) / 2)

    def watch(_client: Client, _job_id: str) -> Iterator[dict[str, Any]]:
        yield from jobs

    monkeypatch.setattr(Client, "watch", watch)
    assert show_progress(Client("http://box", "pm_x"), "job_1") == jobs[-1]
    return capsys.readouterr().err.splitlines()


def test_the_first_and_the_last_state_are_told_and_few_between(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = [job(0), *(job(1 + n // 10) for n in range(30)), job(4, 1)]
    lines = shown(monkeypatch, capsys, *jobs)
    assert lines[0] == "job_1: 0 of 5 finished"
    assert lines[-1] == "job_1: 5 of 5 finished, 1 failed"
    assert 3 <= len(lines) <= 5


def test_what_it_waits_for_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waiting = job(0, waiting_for="worker")
    paused = job(0, flags={"paused": True, "cancel_requested": False})
    assert shown(monkeypatch, capsys, waiting) == [
        "job_1: 0 of 5 finished; no worker serves its model; `promptmill worker` starts one"
    ]
    assert shown(monkeypatch, capsys, paused) == ["job_1: 0 of 5 finished; paused"]


def test_a_job_that_was_never_made_says_why() -> None:
    fields: Any = {"status": "cancelled", "usage": {"completion_tokens": 0}}
    why = {"code": "unknown_column", "message": "the template names {{reference}}"}
    told = "cancelled: no item finished; 0 tokens generated"
    assert summary(job(0, **fields)) == told
    assert summary(job(0, **fields, error=why)) == f"{told}; the template names {{{{reference}}}}"
