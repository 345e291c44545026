"""Sums up the items of a job: what its charts show (items done over time, tokens per second,
lengths, finish reasons), and its failures by code and message.

Made from what `web/services/samples.py` and `web/services/failures.py` keep, so a look at a job of
any size reads a bounded number of results.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from common.store.job import Job
from web.schemas.overviews import ErrorGroup, ErrorGroups, JobSummary, LengthBin, TimeBin
from web.services.samples import Sample
from web.services.services import Services

MOST_BINS = 60
MOST_LENGTHS = 20
STEPS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 43200, 86400)


def summary(services: Services, job_id: str, tenant: str) -> JobSummary:
    """What the charts show, of the results that there are by now.

    Raises:
        NotFound: no such job, or it is another tenant's.
    """
    job = services.store.job(job_id, tenant)
    found, every, whole = services.samples.of(job_id).look(job)
    now = job.finished_at or services.store.now()
    seconds, timeline = _timeline(job, found, every, now)
    return JobSummary(
        finished=services.store.finished(job_id),
        read=len(found),
        every=every,
        complete=whole,
        seconds=seconds,
        timeline=timeline,
        lengths=_lengths([length for sample in found for length in sample.lengths], every),
        finish_reasons={
            reason: count * every
            for reason, count in Counter(
                reason for sample in found for reason in sample.reasons
            ).most_common()
        },
    )


def error_groups(services: Services, job_id: str, tenant: str) -> ErrorGroups:
    """What failed so far, by code and message.

    Raises:
        NotFound: no such job, or it is another tenant's.
    """
    job = services.store.job(job_id, tenant)
    groups, whole = services.failures.of(job_id).look(job)
    data = [ErrorGroup.model_validate(group, from_attributes=True) for group in groups]
    return ErrorGroups(data=data, failed=job.failed, complete=whole)


def _timeline(
    job: Job, samples: Sequence[Sample], every: int, now: int
) -> tuple[float, list[TimeBin]]:
    """The seconds of a bin, and the bins; times are seconds after the job was made."""
    if job.started_at is None or not samples:
        return 0.0, []
    start = (job.started_at - job.created_at) / 1000
    ends = _ends(samples, start)
    span = max(max(ends), (now - job.created_at) / 1000) - start
    width = _width(span)
    bins = min(MOST_BINS, math.floor(span / width) + 1)
    finished, failed = [0] * bins, [0] * bins
    for sample, end in zip(samples, ends, strict=True):
        place = min(bins - 1, max(0, int((end - start) / width)))
        finished[place] += every
        failed[place] += every * sample.failed
    rates, found, done = _rates(samples, ends, start, width, bins), [], 0
    for place in range(bins):
        done += finished[place]
        moment = job.created_at / 1000 + start + place * width
        found.append(
            TimeBin(
                start=datetime.fromtimestamp(moment, UTC),
                finished=finished[place],
                failed=failed[place],
                done=done,
                tokens_per_s=round(rates[place] * every, 1),
            )
        )
    return width, found


def _ends(samples: Sequence[Sample], start: float) -> list[float]:
    """When each ended. One of which that is not known counts as ended with the one before it."""
    ends, last = [], start
    for sample in samples:
        last = last if sample.ended is None else max(start, sample.ended)
        ends.append(last)
    return ends


def _width(span: float) -> float:
    """The shortest round length with which the bins are no more than `MOST_BINS`."""
    for scale in (0.01, 0.1, 1.0):
        for step in STEPS[: 3 if scale < 1 else None]:
            if span / (step * scale) < MOST_BINS:
                return step * scale
    return math.ceil(span / MOST_BINS / 86400 + 1e-9) * 86400.0


def _rates(
    samples: Sequence[Sample], ends: Sequence[float], start: float, width: float, bins: int
) -> list[float]:
    """Tokens per second of each bin. Each sample adds its own rate where it begins and takes it
    away where it ends, so a long one costs no more than a short one."""
    edges, parts = [0.0] * (bins + 1), [0.0] * bins
    for sample, end in zip(samples, ends, strict=True):
        rate = sample.tokens / max(sample.ran, width / 100)
        low = (end - max(sample.ran, width / 100) - start) / width
        high = (end - start) / width
        first, last = (min(bins - 1, max(0, int(place))) for place in (low, high))
        edges[first] += rate
        edges[last] -= rate
        parts[first] -= rate * min(1.0, max(0.0, low - first))
        parts[last] += rate * min(1.0, max(0.0, high - last))
    found, running = [], 0.0
    for edge, part in zip(edges, parts, strict=False):
        running += edge
        found.append(max(0.0, running + part))
    return found


def _lengths(lengths: Sequence[int], every: int) -> list[LengthBin]:
    if not lengths:
        return []
    low, high = min(lengths), max(lengths)
    width = _round_up((high - low + 1) / (MOST_LENGTHS - 1))
    low -= low % width
    counts = Counter((length - low) // width for length in lengths)
    return [
        LengthBin(
            low=low + place * width,
            high=low + (place + 1) * width - 1,
            outputs=counts[place] * every,
        )
        for place in range((high - low) // width + 1)
    ]


def _round_up(width: float) -> int:
    """The next of 1, 2, 5, 10, 20, 50, …"""
    power = 10 ** max(0, math.floor(math.log10(max(1.0, width))))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= width)
