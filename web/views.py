"""Jobs, items and models as users see them, made from the store's records; and what users may wish of a job."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Literal, cast

from flask import has_request_context, request

from common.errors import Unavailable
from common.store import TEMPLATE_KWARGS
from common.types import JobState, ModelCard
from web.schemas import (
    INPUTS,
    Counts,
    Flags,
    HookView,
    ItemList,
    ItemRow,
    JobList,
    JobView,
    Limits,
    ModelList,
    ModelView,
    StoppedBy,
    Usage,
    WebhookView,
)
from web.services import Services

log = logging.getLogger(__name__)


def job_view(services: Services, job_id: str, tenant: str) -> JobView:
    """One job; `NotFound` for another tenant's."""
    job = services.store.job(job_id, tenant)
    hooks = services.store.hooks(job_id) if job["hooks"] else []
    return _view(services, job_id, job, hooks, _served(services, [job]))


def job_list(services: Services, tenant: str, after: str | None = None, limit: int = 20) -> JobList:
    """A tenant's jobs, newest first. Their webhooks are told only by `job_view`."""
    jobs, more = services.store.jobs(tenant, after, limit)
    served = _served(services, jobs)
    data = [_view(services, job["id"], job, [], served) for job in jobs]
    return JobList(data=data, has_more=more, after=data[-1].id if more and data else None)


def item_rows(services: Services, job_id: str, tenant: str, first: int, count: int) -> list[dict[str, Any]]:
    """`ItemRow`s of items [first, first + count), as dictionaries."""
    spec = json.loads(services.store.job(job_id, tenant)["spec"])
    found, shown = services.store.answers(job_id, first, count, spec), (*INPUTS, TEMPLATE_KWARGS)
    return [row | {name: item[name] for name in shown if name in item} for item, row in found]


def item_list(services: Services, job_id: str, tenant: str, after: int = -1, limit: int = 100) -> ItemList:
    """Items behind index `after`, in order."""
    rows = item_rows(services, job_id, tenant, after + 1, limit + 1)
    data = [ItemRow.model_validate(row) for row in rows[:limit]]
    more = len(rows) > limit
    return ItemList(data=data, has_more=more, after=data[-1].index if more else None)


def cancel_job(services: Services, job_id: str, tenant: str) -> JobView:
    """Ask a job to stop, and say how it stands. What is over stays as it is."""
    services.store.job(job_id, tenant)
    _, hooked = services.store.cancel(job_id)
    if hooked:
        wake_deliveries(services, job_id)
    return job_view(services, job_id, tenant)


def model_list(services: Services) -> ModelList:
    """Every model ever served."""
    live = Counter(worker["model"] for worker in services.fleet.workers())
    return ModelList(data=[_model_view(card, live[card.id]) for card in services.fleet.models()])


def model_view(services: Services, name: str) -> ModelView:
    card = services.fleet.model(name)
    return _model_view(card, sum(worker["model"] == card.id for worker in services.fleet.workers()))


def _model_view(card: ModelCard, workers: int) -> ModelView:
    return ModelView(id=card.id, created=card.created, workers=workers, card=card)


def wake_deliveries(services: Services, job_id: str) -> None:
    try:
        services.bell.deliver()
    except Unavailable as error:  # the next tick wakes them
        log.warning("the webhook worker could not be rung: %s", error, extra={"job": job_id})


def base_url(services: Services) -> str:
    """How whoever asks reaches this server, without a slash at the end."""
    if services.settings.public_url is None and has_request_context():
        return request.host_url.rstrip("/")
    return services.settings.base_url


def _served(services: Services, jobs: Iterable[dict[str, str]]) -> dict[str, int]:
    """Models with a live worker, and the slots of the largest one; asked only when some job is not over."""
    found: dict[str, int] = {}
    if not all(JobState(job["status"]).terminal for job in jobs):
        for worker in services.fleet.workers():
            found[worker["model"]] = max(found.get(worker["model"], 0), worker["slots"])
    return found


def _waiting_for(job: dict[str, str], served: dict[str, int]) -> Literal["worker", "larger_worker"] | None:
    """What must come before the job can end, as `JobView` says it."""
    if JobState(job["status"]).terminal:
        return None
    if job["model"] not in served:
        return "worker"
    return "larger_worker" if int(job["pending"]) and int(job["n_max"]) > served[job["model"]] else None


def _view(
    services: Services, job_id: str, job: dict[str, str], hooks: list[dict[str, Any]], served: dict[str, int]
) -> JobView:
    spec = json.loads(job["spec"])
    status = JobState(job["status"])
    prompt, completion = int(job["prompt_tokens"]), int(job["completion_tokens"])
    return JobView(
        id=job_id,
        status=status,
        model=job["model"],
        counts=Counts(**{name: int(job[name]) for name in Counts.model_fields}),
        usage=Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion),
        waiting_for=_waiting_for(job, served),
        flags=Flags(cancel_requested=job["cancel_requested"] == "1", paused=job["paused"] == "1"),
        cancelled_by=cast("StoppedBy | None", job.get("cancel_reason")),
        retry_of=job.get("retry_of"),
        retried_by=job.get("retried_by"),
        batch=job.get("batch"),
        limits=Limits(tokens=int(job["token_budget"]) or None, error_rate=float(job["error_rate"]) or None),
        priority=int(job["priority"]),
        params=spec["params"],
        chat_template_kwargs=spec.get(TEMPLATE_KWARGS, {}),
        webhook=WebhookView(url=spec["webhook"]["url"], events=spec["webhook"]["events"]) if spec["webhook"] else None,
        webhooks=[HookView.model_validate(hook | {"tries": _tries(hook["tries"])}) for hook in hooks],
        metadata=spec["metadata"],
        created_at=_moment(job["created_at"]),
        started_at=_moment(job.get("started_at")),
        finished_at=_moment(job.get("finished_at")),
        deadline=_moment(job.get("deadline")),
        links=job_links(services, job_id),
    )


def _tries(stored: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Deliveries keep ms of the server's clock; users see times."""
    return [{**each, "at": _moment(each["at"]), "next_at": _moment(each.get("next_at"))} for each in stored]


def _moment(ms: str | int | None) -> Any:
    return datetime.fromtimestamp(int(ms) / 1000, UTC) if ms and ms != "0" else None


def job_links(services: Services, job_id: str) -> dict[str, str]:
    """Where everything about a job is, as whoever asks reaches this server."""
    base = base_url(services)
    job = f"{base}/v1/jobs/{job_id}"
    return {
        "self": job,
        "items": f"{job}/items",
        "results": f"{job}/results.jsonl",
        "results_csv": f"{job}/results.csv",
        "events": f"{job}/events",
        "cancel": f"{job}/cancel",
        "page": f"{base}/jobs/{job_id}",
    }
