"""What a tenant may do with sweeps: submit, see, list, cancel and delete them. What is done to a
sweep is done to each of its jobs."""

from __future__ import annotations

from collections.abc import Collection

from common.errors import Conflict, NotFound
from common.store.sweeps import StoredSweep
from common.types import JobState
from web.intake.drafts import Drafts
from web.intake.sweep import enqueue_sweep
from web.intake.sweep_values import combined
from web.jobs.views import moment, page
from web.schemas.answers import Counts, Flags, Usage
from web.schemas.sweeps import AnySweep, SweepJobView, SweepList, SweepView
from web.services.rings import ring_deliveries
from web.services.services import Services
from web.wire.links import sweep_links


def submit_sweep(
    services: Services, tenant: str, options: AnySweep, drafts: Drafts, key: str | None
) -> tuple[SweepView, bool]:
    """Make a sweep (`enqueue_sweep`), and show how it stands then. Answers also whether an earlier
    request with the same idempotency key had made it.

    Raises:
        Conflict: besides what `enqueue_sweep` raises: that sweep was deleted since.
    """
    made = enqueue_sweep(services, tenant, options, drafts, key)
    try:
        return sweep_view(services, made.sweep_id, tenant), made.replayed
    except NotFound:
        raise Conflict(
            f"this Idempotency-Key made {made.sweep_id}, which was deleted since",
            code="sweep_deleted",
        ) from None


def sweep_view(services: Services, sweep_id: str, tenant: str) -> SweepView:
    """One sweep; `NotFound` if it is another tenant's."""
    return _view(services, services.sweeps.get(sweep_id, tenant))


def sweep_list(services: Services, tenant: str, after: str | None, limit: int) -> SweepList:
    """A tenant's sweeps, newest first, as many as make a `page`."""
    views = (_view(services, sweep) for sweep in services.sweeps.walk(tenant, after))
    data, more = page(((view, len(view.model_dump_json())) for view in views), limit)
    return SweepList(data=data, has_more=more, after=data[-1].id if more else None)


def cancel_sweep(services: Services, sweep_id: str, tenant: str) -> SweepView:
    """Ask each of its jobs to stop, and show how it stands. Jobs that are over stay as they are."""
    hooked = False
    for job in services.sweeps.get(sweep_id, tenant).jobs:
        if not job.status.terminal:
            hooked |= services.store.cancel(job.id)[1]
    if hooked:
        ring_deliveries(services, sweep_id)
    return sweep_view(services, sweep_id, tenant)


def delete_sweep(services: Services, sweep_id: str, tenant: str) -> None:
    """Remove its jobs with their results, and with the last of them the sweep, now."""
    for job in services.sweeps.get(sweep_id, tenant).jobs:
        services.store.delete(job.id)


def status_of(states: Collection[JobState]) -> JobState:
    """The status of a sweep whose jobs have these."""
    over = [state for state in states if state.terminal]
    if len(over) < len(states):
        started = over or JobState.RUNNING in states
        return JobState.RUNNING if started else JobState.QUEUED
    for end in (JobState.CANCELLED, JobState.EXPIRED):
        if end in states:
            return end
    return JobState.COMPLETED


def _view(services: Services, sweep: StoredSweep) -> SweepView:
    params = combined(sweep.varied)
    jobs = [
        SweepJobView(
            id=job.id,
            params=params[job.place],
            status=job.status,
            flags=Flags(paused=job.paused, cancel_requested=job.cancel_requested),
            counts=Counts(**job.counts),
            usage=Usage(
                prompt_tokens=job.prompt_tokens,
                completion_tokens=job.completion_tokens,
                total_tokens=job.prompt_tokens + job.completion_tokens,
            ),
        )
        for job in sweep.jobs
    ]
    return SweepView(
        id=sweep.id,
        status=status_of([job.status for job in jobs]),
        model=sweep.model,
        sweep={name: list(values) for name, values in sweep.varied.items()},
        metadata=dict(sweep.metadata),
        created_at=moment(sweep.created_at),
        jobs=jobs,
        links=sweep_links(services, sweep.id),
    )
