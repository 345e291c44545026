"""What a tenant may do with jobs: submit, cancel, delete, pause and resume. `changes.py` has what
changes a job's settings and items, `again.py` what runs them again.

Each looks the job up as the tenant's first, so another tenant's is a `NotFound`.
"""

from __future__ import annotations

from collections.abc import Iterable

from common.errors import Conflict, NotFound
from web.intake.drafts import Draft
from web.intake.enqueue import enqueue_job
from web.intake.origin import Origin
from web.jobs.changes import change
from web.jobs.views import job_view
from web.schemas.answers import JobView
from web.schemas.requests import JobOptions
from web.services.rings import ring_deliveries
from web.services.services import Services


def submit_job(
    services: Services, tenant: str, options: JobOptions, drafts: Iterable[Draft], origin: Origin
) -> JobView:
    """Make a job (`enqueue_job`), and show how it stands then.

    Raises:
        Conflict: besides what `enqueue_job` raises: the idempotency key made a job that was deleted
        since.
    """
    made = enqueue_job(services, tenant, options, drafts, origin)
    if not made.replayed:
        return job_view(services, made.job_id, tenant)
    try:
        view = job_view(services, made.job_id, tenant)
    except NotFound:
        raise Conflict(
            f"this Idempotency-Key made {made.job_id}, which was deleted since", code="job_deleted"
        ) from None
    view._replayed = True
    return view


def cancel_job(services: Services, job_id: str, tenant: str) -> JobView:
    """Ask a job to stop, and show how it stands. A job that is over stays as it is."""
    services.store.check_owner(job_id, tenant)
    _, hooked = services.store.cancel(job_id)
    if hooked:
        ring_deliveries(services, job_id)
    return job_view(services, job_id, tenant)


def delete_job(services: Services, job_id: str, tenant: str) -> None:
    """Remove a job and its results, now."""
    services.store.check_owner(job_id, tenant)
    services.store.delete(job_id)


def set_paused(services: Services, job_id: str, tenant: str, paused: bool) -> JobView:
    """While a job is paused nothing of it starts, and what runs is handed back with its tokens;
    resumed, it goes on there."""
    return change(services, job_id, tenant, paused=int(paused))
