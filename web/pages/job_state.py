"""A job's state and progress in words: what its status and its counts mean together. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from common.types import JobState
from web.schemas.answers import Counts, JobView

ICON_STEP = 5  # percent: a browser fetches each icon once
# From left to right in the progress bar: states that are final, then running. Pending items are
# the empty rest.
ORDER = ("succeeded", "failed", "expired", "cancelled", "running")


@dataclass(frozen=True)
class Shown:
    """A state: `kind` is the class of its colour and sign, `text` what is written."""

    kind: str
    text: str


def job_state(job: JobView) -> Shown:
    """A job that is over is green only if nothing of it failed."""
    counts, status = job.counts, job.status
    if not status.terminal:
        if job.flags.cancel_requested:
            return Shown("cancelled", "cancelling")
        return Shown("paused", "paused") if job.flags.paused else Shown(status, status)
    if status == JobState.COMPLETED and counts.failed:
        if counts.failed == counts.total:
            return Shown("failed", "all failed" if counts.total > 1 else "failed")
        return Shown("partly", "some failed")
    return Shown(status, status)


def done(counts: Counts) -> int:
    """Items that ran to their end: neither those that were cancelled nor those that expired."""
    return counts.succeeded + counts.failed


def done_label(counts: Counts) -> str:
    """How many items are done, and what became of those that never will be."""
    parts = [f"{done(counts):,} of {counts.total:,} done"]
    ends = (("cancelled", counts.cancelled), ("expired", counts.expired))
    parts += [f"{number:,} {state}" for state, number in ends if number]
    return ", ".join(parts)


def counted(number: int, noun: str) -> str:
    """1 item, 2 items, 1,000 items."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def progress_label(counts: Counts) -> str:
    """The progress bar in words, for screen readers."""
    parts = [
        f"{getattr(counts, state):,} {state}"
        for state in (*ORDER, "pending")
        if getattr(counts, state)
    ]
    return f"{counted(counts.total, 'item')}: {', '.join(parts)}"


def percent(job: JobView) -> int:
    """How much of a job is done, rounded down."""
    return 100 * done(job.counts) // max(1, job.counts.total)


def icon(job: JobView) -> Shown:
    """What the icon of the window shows: a state, and the percent that are done."""
    kind = job_state(job).kind
    if job.status.terminal:
        return Shown(kind, "100")
    step = percent(job) // ICON_STEP * ICON_STEP
    return Shown("paused" if kind == "paused" else "running", str(step))


def marks(job: JobView) -> list[str]:
    """What kind of job it is, where it is not just one that was submitted."""
    found = (
        ("trial", job.trial),
        ("retry", job.retry_of),
        ("rerun", job.rerun_of),
        ("judge", job.judge),
        ("sweep", job.sweep),
        ("batch", job.batch),
    )
    return [mark for mark, is_so in found if is_so]


def ran_for(job: JobView) -> float | None:
    """Seconds that it ran so far, without its pauses; None before its start."""
    if job.started_at is None:
        return None
    end = job.finished_at or job.paused_at or datetime.now(UTC)
    return max(0.0, (end - job.started_at).total_seconds() - job.paused_s)
