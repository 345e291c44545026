"""What is known of a job before it is submitted: whether it is valid, how many tokens it has, and
how long it may take, by how fast the tenant's last jobs on the same model went."""

from __future__ import annotations

from collections.abc import Iterable

from common.store.jobs import JobStore
from common.store.records import readable
from common.types import ModelCard
from web.intake.check import Intake
from web.intake.drafts import Draft
from web.intake.enqueue import with_defaults
from web.intake.staging import deadline_ms
from web.schemas.answers import CheckView, ErrorEntry, TimeRange
from web.schemas.requests import JobOptions
from web.services.services import Services

LOOK_BACK = 20  # jobs


def check_job(
    services: Services, options: JobOptions, drafts: Iterable[Draft], *, tenant: str | None = None
) -> CheckView:
    """Everything that `enqueue_job` would say of the same content, and what it would cost; nothing
    is written.

    `tenant` is whose recent jobs tell how long it may take.
    """
    model = services.models.choose(options.model)
    intake = Intake(model, with_defaults(options, model.card), services.settings)
    deadline_ms(services.store, options.deadline)
    for _ in intake.accept(drafts):
        pass
    totals, counted = intake.totals, intake.model.tokenizer is not None
    return CheckView(
        valid=not intake.faults,
        model=intake.model.card.id,
        items=totals.items,
        prompt_tokens=totals.prompt_tokens if counted else None,
        max_prompt_tokens=totals.max_prompt_tokens if counted else None,
        max_completion_tokens=totals.max_completion_tokens,
        seconds=estimate(services.store, tenant, intake.model.card, totals.max_completion_tokens)
        if tenant
        else None,
        errors=[ErrorEntry.model_validate(fault) for fault in intake.faults],
    )


def estimate(
    store: JobStore, tenant: str, card: ModelCard, max_completion_tokens: int
) -> TimeRange | None:
    """Seconds once it starts, from "as short answers and as fast as the best" to "all of
    max_tokens, as the slowest".

    None when no job of this tenant finished on these weights, or none took long enough to tell.
    """
    jobs, _ = store.jobs(tenant, None, LOOK_BACK)
    finished = [
        job for job in jobs if job.get("digest") == card.digest and job.get("status") == "completed"
    ]
    speeds, shares = [], []
    for seconds, generated, asked in readable(finished, _went, lambda job: job["id"]):
        if seconds >= 1 and generated and asked > 0:
            speeds.append(generated / seconds)
            shares.append(min(1.0, generated / asked))
    if not speeds:
        return None
    return TimeRange(
        low=round(max_completion_tokens * min(shares) / max(speeds), 1),
        high=round(max_completion_tokens / min(speeds), 1),
    )


def _went(job: dict[str, str]) -> tuple[float, int, int]:
    """How many seconds a finished job took, how many tokens it generated, and how many it was
    expected to."""
    seconds = (int(job["finished_at"]) - int(job["started_at"])) / 1000
    asked = int(job["cost"]) * int(job["total"]) - int(job["prompt_tokens"])
    return seconds, int(job["completion_tokens"]), asked
