"""What may be wished of a job that exists: pause, resume, another priority or deadline, more items,
a retry."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from common.errors import Conflict
from common.store.jobs import TEMPLATE_KWARGS, Appended
from common.store.upload_stage import custom_id_digest
from common.types import ItemState, JobState
from web.intake.check import MOST_STREAMS, Intake
from web.intake.drafts import Draft
from web.intake.enqueue import (
    Fingerprint,
    KeyReused,
    check_key,
    deadline_ms,
    queue_limits,
    ring,
    staged,
    submit_job,
)
from web.jobs.views import job_view
from web.schemas.answers import Added, AppendView, JobView
from web.schemas.requests import Item, JobEdit, JobOptions
from web.services.services import Services
from web.wire.bodies import validated

PAGE = 500  # items read at a time
LIMITS = {"tokens": "token_budget", "error_rate": "error_rate"}  # as the store calls them


def set_paused(services: Services, job_id: str, tenant: str, paused: bool) -> JobView:
    """Paused, nothing of the job starts and what runs is handed back with its tokens; resumed, it
    goes on there."""
    return _edit(services, job_id, tenant, paused=int(paused))


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
    return _edit(services, job_id, tenant, **changes)


def _edit(services: Services, job_id: str, tenant: str, **changes: float) -> JobView:
    job = services.store.job(job_id, tenant)
    for field, value in changes.items():
        ring(services, job["model"], services.store.edit(job_id, field, value), job_id)
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
    check_key(idempotency_key)
    job = services.store.job(job_id, tenant)
    spec, model = json.loads(job["spec"]), services.cards.choose(job["model"])
    rendered_at = spec.get("rendered_at", int(time.time()))
    intake = Intake(
        model, _options(spec | {"metadata": {}}), services.settings, rendered_at=rendered_at
    )
    if "indexed" not in job:  # made by an earlier version
        intake.know(
            (item["custom_id"], "the job")
            for item in _items(services, job_id)
            if "custom_id" in item
        )
    fingerprint = Fingerprint({"append": job_id})
    with staged(services.store, intake.options.params.n) as stage:
        for record in intake.accept(drafts):
            stage.add(record)
            if idempotency_key:
                fingerprint.add(record)
        intake.raise_faults()
        stage.close_for_attach()
        totals = intake.totals
        services.store.check_memory(totals.cost * totals.items, totals.all_surplus)
        appended = services.store.append(
            job_id,
            stage,
            tokens=totals.cost * totals.items,
            n_max=totals.n_max,
            surplus=totals.all_surplus,
            limits=queue_limits(services.settings),
            most_items=services.settings.max_items,
            streams=(totals.streams, MOST_STREAMS),
            idempotency=(idempotency_key, fingerprint.value()) if idempotency_key else ("", ""),
        )
    if appended.outcome == "conflict":
        message = "this Idempotency-Key was used for other content; take a new key for more items"
        raise KeyReused(message, field="Idempotency-Key")
    if appended.outcome == "duplicate":
        intake.refuse_taken(lambda custom_id: custom_id_digest(custom_id)[1] in appended.duplicates)
    ring(services, job["model"], appended.rings, job_id)
    return _append_view(services, job_id, tenant, appended)


def _append_view(services: Services, job_id: str, tenant: str, appended: Appended) -> AppendView:
    """The job now, and which of its items were added."""
    added = Added(first=appended.first, count=appended.count)
    view = AppendView(**dict(job_view(services, job_id, tenant)), added=added)
    view._replayed = appended.outcome == "same"
    return view


def retry_job(
    services: Services, job_id: str, tenant: str, idempotency_key: str | None = None
) -> JobView:
    """A new job, linked to this one, of the items that failed. This one and its attempts stay as
    they are.

    Raises:
        Conflict: the job is not over yet, or nothing of it failed that would run.
    """
    job = services.store.job(job_id, tenant)
    if not JobState(job["status"]).terminal:
        raise Conflict(
            f"job {job_id} is not over yet; retry what failed when it is", code="job_not_over"
        )
    if job["failed"] == "0":
        raise Conflict(
            f"no item of job {job_id} failed, so there is nothing to retry", code="nothing_failed"
        )
    spec = json.loads(job["spec"])
    failed = _failed(services, job_id, spec)
    first = next(failed, None)
    if first is None:
        raise Conflict(
            f"what failed of job {job_id} was refused, and would be again", code="nothing_failed"
        )
    drafts = chain([first], failed)
    return submit_job(
        services, tenant, _options(spec), drafts, idempotency_key=idempotency_key, retry_of=job_id
    )


def _options(spec: dict[str, Any]) -> JobOptions:
    """What the job was submitted with. Its deadline was for then, its priority is the new job's own
    affair.

    Raises:
        InvalidRequest: it was taken by an earlier version, whose bounds were wider.
    """
    names = ("model", "params", TEMPLATE_KWARGS, "webhook", "metadata", "limits")
    return validated(JobOptions, {name: spec[name] for name in names if name in spec})


def _items(services: Services, job_id: str) -> Iterator[dict[str, Any]]:
    first = 0
    while page := services.store.items(job_id, first, PAGE):
        yield from page
        first += len(page)


def _failed(services: Services, job_id: str, spec: dict[str, Any]) -> Iterator[Draft]:
    first = 0
    while page := services.store.answers(job_id, first, PAGE, spec):
        for item, row in page:
            # Which would be refused again.
            if row["status"] == ItemState.FAILED and "refused" not in item:
                given = {name: value for name, value in item.items() if name in Item.model_fields}
                yield Draft(given, path=f"items.{row['index']}")
        first += len(page)
