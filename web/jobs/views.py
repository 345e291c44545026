"""Jobs, models and workers as tenants see them, made from the store's records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Literal, TypeVar, cast

from pydantic_core import to_json

from common.store.job import Job
from common.store.job_prep import JobPrep
from common.store.job_spec import JobSpec
from common.store.outbox import StoredEvent
from common.store.records import reading
from common.store.rows import TEMPLATE_KWARGS
from common.types import JsonObject, ModelCard
from web.schemas.answers import (
    Counts,
    ErrorEntry,
    Flags,
    HookView,
    InputFromView,
    JobView,
    ModelList,
    ModelView,
    StoppedBy,
    TryView,
    Usage,
    WebhookView,
)
from web.schemas.base import LATEST
from web.schemas.requests import Limits
from web.services.services import Services
from web.wire.links import job_links

MOST_OUTPUT = 1024  # bytes of an output format that lists show whole
MOST_PAGE = 4 * 2**20  # bytes of a page of a list, about; one entry may have more
T = TypeVar("T")
WaitingFor = Literal["job", "worker", "larger_worker"]
LATEST_MS = int(LATEST.timestamp() * 1000)


def job_view(services: Services, job_id: str, tenant: str, *, whole: bool = True) -> JobView:
    """One job; `NotFound` if it is another tenant's. Unless `whole` it is without how its prompts
    are made, which may be long and does not change."""
    job = services.store.job(job_id, tenant)
    hooks = services.store.hooks(job_id) if job.hooks else []
    prep = services.store.prep(job_id) if whole else None
    with reading(job_id):
        return view_of(services, job, hooks, Served(services), prep)


def page(entries: Iterable[tuple[T, int]], limit: int) -> tuple[list[T], bool]:
    """The first entries, each given with its bytes, and whether there are more. They are `limit` at
    most, and fewer where more would have over `MOST_PAGE` bytes together, but at least one."""
    found: list[T] = []
    size = 0
    for entry, length in entries:
        size += length
        if len(found) == limit or (found and size > MOST_PAGE):
            return found, True
        found.append(entry)
    return found, False


def model_list(services: Services) -> ModelList:
    """Every model ever served, then the aliases of those."""
    live = Counter(worker.model for worker in services.fleet.workers())
    cards, aliases = {card.id: card for card in services.fleet.models()}, services.models.aliases
    named = {name: name for name in cards if name not in aliases} | dict(aliases)
    shown = [
        _model_view(cards[name], live[name], shown)
        for shown, name in named.items()
        if name in cards
    ]
    return ModelList(data=shown)


def model_view(services: Services, name: str) -> ModelView:
    card = services.fleet.model(services.models.served_name(name))
    return _model_view(
        card, sum(worker.model == card.id for worker in services.fleet.workers()), name
    )


def _model_view(card: ModelCard, workers: int, name: str) -> ModelView:
    """A model under its own name or an alias of it."""
    alias_of = card.id if name != card.id else None
    return ModelView(id=name, created=card.created, workers=workers, card=card, alias_of=alias_of)


class Served:
    """The models that have a live worker, with the slots of the largest one. Read once, at the
    first job that is not over."""

    def __init__(self, services: Services):
        self._services = services

    @cached_property
    def slots(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for worker in self._services.fleet.workers():
            if worker.drained:
                continue
            found[worker.model] = max(found.get(worker.model, 0), worker.slots)
        return found


def _waiting_for(job: Job, served: Served) -> WaitingFor | None:
    """What the job waits for before it can end, as `JobView` names it."""
    if job.status.terminal:
        return None
    if job.waiting:
        return "job"
    slots = served.slots.get(job.model)
    if slots is None:
        return "worker"
    return "larger_worker" if job.pending and job.n_max > slots else None


def _short_params(params: JsonObject) -> JsonObject:
    """The parameters without a long output format, which does not change and is in each entry of a
    list: its kind and its size stand for it."""
    output = params.get("output")
    if output is None or (size := len(to_json(output))) <= MOST_OUTPUT:
        return params
    return {**params, "output": {"shortened": next(iter(output), None), "bytes": size}}


def view_of(
    services: Services,
    job: Job,
    hooks: list[StoredEvent],
    served: Served,
    prep: JobPrep | None = None,
) -> JobView:
    spec, made = job.spec, prep or {}
    return JobView(
        id=job.id,
        status=job.status,
        model=job.model,
        counts=Counts(**{name: getattr(job, name) for name in Counts.model_fields}),
        usage=Usage(
            prompt_tokens=job.prompt_tokens,
            completion_tokens=job.completion_tokens,
            total_tokens=job.prompt_tokens + job.completion_tokens,
        ),
        waiting_for=_waiting_for(job, served),
        flags=Flags(cancel_requested=job.cancel_requested, paused=job.paused),
        cancelled_by=cast("StoppedBy | None", job.cancel_reason),
        **_derivation(job),
        rerun_of=job.rerun_of,
        trial=job.trial,
        batch=job.batch,
        sweep=job.sweep,
        limits=Limits(tokens=job.token_budget or None, error_rate=job.error_rate or None),
        priority=job.priority,
        params=spec["params"] if prep is not None else _short_params(spec["params"]),
        chat_template_kwargs=spec.get(TEMPLATE_KWARGS, {}),
        webhook=_webhook(spec),
        webhooks=[_hook_view(hook) for hook in hooks],
        metadata=spec["metadata"],
        created_at=moment(job.created_at),
        started_at=moment(job.started_at),
        finished_at=moment(job.finished_at),
        deadline=moment(job.deadline),
        paused_at=moment(job.paused_at) if job.paused and not job.status.terminal else None,
        paused_s=job.paused_ms / 1000,
        template=made.get("template"),
        clean=made.get("clean", []),
        truncate=made.get("truncate"),
        preset=made.get("preset"),
        bad_rows=made.get("bad_rows"),
        columns=made.get("columns", []),
        metrics=spec.get("metrics", []),
        links=job_links(services, job.id),
    )


def _derivation(job: Job) -> dict[str, Any]:
    """Of which jobs' rows it is made, and which jobs retry it."""
    retries = {"retry_of": job.retry_of, "retried_by": job.retried_by, "retries": [*job.retries]}
    found = job.input_from
    if found is None:
        return retries
    error = ErrorEntry.model_validate(job.error) if job.error else None
    sources = InputFromView(jobs=[*found.jobs], rows="succeeded")
    return {**retries, "input_from": sources, "judge": found.judge, "error": error}


def _webhook(spec: JobSpec) -> WebhookView | None:
    hook = spec["webhook"]
    return WebhookView(url=hook["url"], events=hook["events"]) if hook else None


def _hook_view(event: StoredEvent) -> HookView:
    """Deliveries keep ms of the server's clock; users see times."""
    tries = [
        TryView(
            at=moment(each.at),
            duration_ms=each.duration_ms,
            status_code=each.status_code,
            error=each.error,
            next_at=moment(each.next_at),
        )
        for each in event.tries
    ]
    return HookView(id=event.id, type=event.type, status=event.status.value, tries=tries)


def moment(ms: int | None) -> Any:
    """A time in ms as a moment. Earlier versions accepted deadlines after `schemas.LATEST`, which
    are shown as that."""
    return datetime.fromtimestamp(min(ms, LATEST_MS) / 1000, UTC) if ms else None
