"""Changes to a job: its priority, deadline, limits and metadata, and more items."""

from __future__ import annotations

import time
from collections.abc import Iterable

from common.errors import Conflict
from common.store.job import Job
from common.store.submitted import Appended, KeyReused
from common.store.upload_stage import custom_id_digest
from web.intake.asked_metrics import asked_with_more
from web.intake.check import MOST_STREAMS, Intake
from web.intake.drafts import Draft
from web.intake.formats import Formats
from web.intake.idempotency import Idempotency
from web.intake.staging import deadline_ms, fill, queue_limits, staged
from web.jobs.submitted import all_items, options_of
from web.jobs.views import job_view
from web.schemas.answers import Added, AppendView, JobView
from web.schemas.requests import JobEdit
from web.services.rings import ring_workers
from web.services.services import Services

LIMITS = {"tokens": "token_budget", "error_rate": "error_rate"}  # as the store calls them


def edit_job(services: Services, job_id: str, tenant: str, wanted: JobEdit) -> JobView:
    """Change what is given; what is not stays."""
    changes: dict[str, float] = {}
    if "priority" in wanted.model_fields_set:
        changes["priority"] = wanted.priority or 0
    if "deadline" in wanted.model_fields_set:
        changes["deadline"] = deadline_ms(services.store, wanted.deadline)
    limits: dict[str, float | None] = {}
    if "limits" in wanted.model_fields_set:
        limits = (
            dict.fromkeys(LIMITS)
            if wanted.limits is None
            else wanted.limits.model_dump(exclude_unset=True)
        )
    changes |= {LIMITS[name]: value or 0 for name, value in limits.items()}
    view = change(services, job_id, tenant, **changes)
    if "metadata" not in wanted.model_fields_set:
        return view
    services.store.describe(job_id, dict(wanted.metadata or {}))
    return job_view(services, job_id, tenant)


def change(services: Services, job_id: str, tenant: str, **fields: float) -> JobView:
    """Set fields of a live job's record, and wake workers for what may start now.

    Raises:
        Conflict: the job is over.
    """
    job = services.store.job(job_id, tenant)
    for field, value in fields.items():
        ring_workers(services, job.model, services.store.edit(job_id, field, value), job_id)
    return job_view(services, job_id, tenant)


def append_items(
    services: Services,
    job_id: str,
    tenant: str,
    drafts: Iterable[Draft],
    idempotency_key: str | None = None,
) -> AppendView:
    """Add items to a job that is not over; they take its params. All of them or none, and durable
    when this returns.

    Raises:
        InvalidRequest: with every problem found; nothing was added.
        TooLarge: the job would have more items than a job may.
        Conflict: the job is over or was cancelled, or the idempotency key came with other content.
        TooMany, Unavailable: as much waits as may.
    """
    content = Idempotency(idempotency_key)
    content.begin_append(job_id)
    job = services.store.job(job_id, tenant)
    if job.input_from and job.input_from.judge:
        message = f"job {job_id} is a judge, whose items are the rows of other jobs"
        raise Conflict(message, code="judge_is_fixed")
    intake = _intake(services, job_id, job)
    with staged(services.store, intake.options.params.n) as stage:
        fill(stage, intake, drafts, content)
        totals = intake.totals
        services.admission.check_memory(totals.cost * totals.items, totals.all_surplus)
        appended = services.store.append(
            job_id,
            stage,
            tokens=totals.cost * totals.items,
            n_max=totals.n_max,
            surplus=totals.all_surplus,
            limits=queue_limits(services.settings),
            most_items=services.settings.max_items,
            streams=(totals.streams, MOST_STREAMS),
            evaluate=asked_with_more(intake.options, totals),
            idempotency=content.use(),
        )
    if appended.outcome == "conflict":
        message = "this Idempotency-Key was used for other content; take a new key for more items"
        raise KeyReused(message, field="Idempotency-Key")
    if appended.outcome == "duplicate":
        intake.refuse_taken(lambda custom_id: custom_id_digest(custom_id)[1] in appended.duplicates)
    ring_workers(services, job.model, appended.rings, job_id)
    return _append_view(services, job_id, tenant, appended)


def _intake(services: Services, job_id: str, job: Job) -> Intake:
    """Checks items as the job's own were checked."""
    spec, model = job.spec, services.models.choose(job.model)
    options = options_of({**spec, "metadata": {}}, services.store.prep(job_id))
    rendered_at = spec.get("rendered_at", int(time.time()))
    formats = Formats(services.grammars, job.tenant, model)
    intake = Intake(model, options, services.settings, formats, rendered_at=rendered_at)
    if not job.indexed:  # made by an earlier version, which kept no digests of custom_ids
        items = all_items(services, job_id)
        intake.know((item["custom_id"], "the job") for item in items if "custom_id" in item)
    return intake


def _append_view(services: Services, job_id: str, tenant: str, appended: Appended) -> AppendView:
    """The job now, and which of its items were added."""
    added = Added(first=appended.first, count=appended.count)
    view = AppendView(**dict(job_view(services, job_id, tenant)), added=added)
    view._replayed = appended.outcome == "same"
    return view
