"""How fast a job runs, and when it will be over: from what ended last, without its pauses.

The estimate is a range, because the items that are left may be longer than those that ended.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from common.store.job import Job
from common.store.records import Unreadable, reading
from common.store.rows import parse_result
from web.schemas.answers import TimeRange
from web.services.services import Services

LEAST, MOST = 64, 512  # results that are looked at, so that several waves of all slots are among
MOST_READ = 2 * 2**20  # bytes of them, about
FIRST = 3  # results before which nothing is said
NARROW, WIDE = 1.5, 2.0  # factors to both sides, after hundreds of results and after a few


@dataclass(frozen=True)
class Ended:
    """An item that ended `at` so many seconds of the job's running time, and `ran` so long."""

    at: float
    ran: float
    tokens: int


@dataclass(frozen=True)
class Pace:
    """`active` is for how many seconds the job ran so far, without its pauses; None before its
    start. `remaining` is in seconds. What is not known is None."""

    active: float | None
    tokens_per_s: float | None = None
    remaining: TimeRange | None = None


def pace(services: Services, job: Job) -> Pace:
    """The pace of a job of late; of one that is over, of all of it."""
    if job.started_at is None:
        return Pace(None)
    active = active_s(job, job.finished_at or services.store.now())
    if job.status.terminal:
        return Pace(active, job.completion_tokens / max(active, 0.001) or None)
    if job.paused:
        return Pace(active)
    ended = _recent(services, job)
    speed = None
    if len(ended) > FIRST and (flow := _flow(ended, active)):
        speed = flow.tokens / flow.seconds
    return Pace(active, speed, remaining(ended, job.pending, job.running, active))


def active_s(job: Job, moment: int) -> float:
    """Seconds that the job had run at a moment (ms of the server's clock). Of several pauses, those
    before the last count as if they had been at the job's start."""
    assert job.started_at is not None
    start, lasts = job.started_at, job.paused and not job.status.terminal
    if job.paused_at is None or job.paused_at < start:
        began = ended = start
    else:
        began, ended = job.paused_at, job.resumed_at or moment
    if lasts:
        return max(0, min(moment, began) - start - job.paused_ms) / 1000
    if moment >= ended:
        return max(0, moment - start - job.paused_ms) / 1000
    return max(0, min(moment, began) - start - (job.paused_ms - (ended - began))) / 1000


def remaining(
    ended: Sequence[Ended], pending: int, running: int, active: float
) -> TimeRange | None:
    """The seconds until the last item ends, given those that ended last, in order, behind one more
    or the job's start. The high end is at most four times the low one."""
    flow = _flow(ended, active)
    if len(ended) <= FIRST or flow is None or not pending + running:
        return None
    runs = [each.ran for each in ended[1:]]
    rest = pending * flow.seconds / flow.count  # until the last of them begins
    factor = min(WIDE, NARROW + 1.5 / math.sqrt(flow.count))
    # The last item to begin may be a long one, or one as usual; what runs by now has begun before.
    high = rest * factor + max(runs)
    low = rest / factor + sum(runs) / len(runs) / (2 if pending else 4)
    return TimeRange(low=max(low, high / 4), high=high)


@dataclass(frozen=True)
class _Flow:
    """So many items, with so many tokens, ended in so many seconds."""

    count: int
    tokens: int
    seconds: float


def _flow(ended: Sequence[Ended], active: float) -> _Flow | None:
    """What ended after the first of these and those that ended together with it, as all slots do
    when items are equally long. The time since the last one counts only when it is longer than
    items take: until then the next ones are on their way."""
    if not ended:
        return None
    runs = sorted(each.ran for each in ended)
    start = ended[0].at + runs[len(runs) // 2] / 20
    later = [each for each in ended if each.at > start]
    if not later:
        return None
    last = later[-1].at
    until = active if active - last > 2 * runs[-1] else last
    return _Flow(len(later), sum(each.tokens for each in later), until - ended[0].at)


def _recent(services: Services, job: Job) -> list[Ended]:
    """The items that ended last, in order, several times as many as run at once."""
    finished = services.store.finished(job.id)
    size = max(1, job.size // max(1, job.total))
    count = min(finished, MOST, max(LEAST, 4 * job.running), max(FIRST, MOST_READ // size))
    indices = services.store.finished_after(job.id, finished - count, count)
    blobs = services.store.result_blobs(job.id, indices)
    found = [each for blob in blobs if blob and (each := _ended(job, blob))]
    if count == finished:
        found.append(Ended(0.0, 0.0, 0))  # the job's start
    return sorted(found, key=lambda each: each.at)


def _ended(job: Job, blob: bytes) -> Ended | None:
    """None where the result cannot be read, or no worker ran the item to its end."""
    try:
        with reading(f"a result of {job.id}"):
            result = parse_result(blob)
            queued, ran = result.get("queued_s"), result.get("run_s")
            if queued is None or ran is None:
                return None
            moment = job.created_at + round((queued + ran) * 1000)
            return Ended(active_s(job, moment), ran, result["usage"]["completion_tokens"])
    except Unreadable:
        return None
