"""The list of sweeps, and the page of one: its jobs with their parameters and outputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from flask import redirect, render_template, request, url_for

from common.errors import NotFound
from common.prompting.template import Template
from common.result_row import InputRow
from common.types import JobState, JsonObject
from web.intake.validation_messages import validated
from web.jobs.item_views import item_rows
from web.jobs.sweeps import cancel_sweep, sweep_list, sweep_view
from web.pages.blueprint import logged_in, pages
from web.schemas.answers import Counts, Flags
from web.schemas.queries import SweepPage
from web.schemas.sweeps import SweepJobView, SweepView
from web.services.services import services

SWEEPS = 25  # on one page of their list
ROWS = 3  # rows whose outputs are compared on a page, where there are few jobs
FEW = 6  # columns of a row that are shown
MOST_ANSWERS = 72  # of all jobs to all these rows


@dataclass(frozen=True)
class Whole:
    """All jobs of a sweep together, as the page shows one."""

    status: JobState
    counts: Counts
    flags: Flags


@dataclass(frozen=True)
class Answer:
    """What the job with these parameters made of a row."""

    job: SweepJobView
    params: JsonObject
    row: InputRow


@dataclass(frozen=True)
class Compared:
    """A row, and what each job made of it; the input is the same for all. `columns` are a few of
    the row's, those of the template first; there are `more`."""

    index: int
    row: InputRow
    columns: Sequence[str]
    more: int
    answers: Sequence[Answer]


@dataclass(frozen=True)
class ListedSweep:
    """A sweep, and all its jobs together."""

    sweep: SweepView
    whole: Whole


@pages.get("/sweeps")
@logged_in
def list_sweeps(tenant: str) -> str:
    after = request.args.get("after") or None
    found = sweep_list(
        services(), tenant, **validated(SweepPage, {"after": after, "limit": SWEEPS}).model_dump()
    )
    return render_template(
        "sweeps.html",
        tenant=tenant,
        sweeps=[ListedSweep(each, _whole(each)) for each in found.data],
        after=after,
        next_after=found.after if found.has_more else None,
        busy=any(not each.status.terminal for each in found.data),
    )


@pages.get("/sweeps/<sweep_id>")
@logged_in
def sweep(tenant: str, sweep_id: str) -> str:
    found = sweep_view(services(), sweep_id, tenant)
    total = max((job.counts.total for job in found.jobs), default=0)
    first = min(max(request.args.get("row", 0, int), 0), max(total - 1, 0))
    step = max(1, min(ROWS, MOST_ANSWERS // max(1, len(found.jobs))))
    return render_template(
        "sweep.html",
        tenant=tenant,
        sweep=found,
        whole=_whole(found),
        first=first,
        last=min(first + step, total) - 1,
        total=total,
        step=step,
        compared=list(_compared(tenant, found.jobs, first, step)),
    )


@pages.post("/sweeps/<sweep_id>/cancel")
@logged_in
def stop_sweep(tenant: str, sweep_id: str) -> Any:
    cancel_sweep(services(), sweep_id, tenant)
    return redirect(url_for("pages.sweep", sweep_id=sweep_id), 303)


def _whole(found: SweepView) -> Whole:
    counts = {
        name: sum(getattr(job.counts, name) for job in found.jobs) for name in Counts.model_fields
    }
    waiting = [job.flags for job in found.jobs if not job.status.terminal]
    flags = Flags(
        cancel_requested=bool(waiting) and all(each.cancel_requested for each in waiting),
        paused=bool(waiting) and all(each.paused for each in waiting),
    )
    return Whole(found.status, Counts(**counts), flags)


def _compared(
    tenant: str, jobs: Sequence[SweepJobView], first: int, count: int
) -> Iterator[Compared]:
    """So many rows from `first` on. A job that is deleted meanwhile is left out."""
    read: list[tuple[SweepJobView, dict[int, InputRow]]] = []
    for job in jobs:
        try:
            rows = item_rows(services(), job.id, tenant, first, count)
        except NotFound:
            continue
        read.append((job, {row["index"]: row for row in rows}))
    named = _named_by_template(read[0][0].id) if read else ()
    for index in range(first, first + count):
        answers = [Answer(job, job.params, rows[index]) for job, rows in read if index in rows]
        if answers:
            row = answers[0].row
            given = row.get("vars") or {}
            columns = [name for name in dict.fromkeys((*named, *given)) if name in given]
            yield Compared(index, row, columns[:FEW], max(0, len(columns) - FEW), answers)


def _named_by_template(job_id: str) -> Sequence[str]:
    """The variables of a job's template."""
    template = services().store.prep(job_id).get("template")
    return Template.parse(template).variables if template else ()
