"""What is known of a job before it is submitted: whether it is valid, how many tokens it has, and
how long it may take, by how fast the tenant's last jobs on the same model went."""

from __future__ import annotations

from collections.abc import Iterable

from common.store.jobs import JobStore
from common.types import JobState, ModelCard
from web.intake.asked_metrics import metric_fault
from web.intake.check import Intake
from web.intake.drafts import Draft
from web.intake.enqueue import with_defaults
from web.intake.formats import Formats
from web.intake.presets import resolve_preset
from web.intake.staging import deadline_ms
from web.intake.validation_messages import MOST_FAULTS
from web.schemas.answers import CheckView, ErrorEntry, TimeRange
from web.schemas.requests import JobOptions
from web.services.services import Services

LOOK_BACK = 20  # jobs


def check_job(
    services: Services, options: JobOptions, drafts: Iterable[Draft], *, tenant: str
) -> CheckView:
    """Everything that `enqueue_job` would say of the same content, and what it would cost; nothing
    is written.

    The recent jobs of `tenant` are the measure of how long it may take.
    """
    model = services.models.choose(options.model)
    options = with_defaults(resolve_preset(services, tenant, options), model.card)
    formats = Formats(services.grammars, tenant, model)
    intake = Intake(model, options, services.settings, formats)
    deadline_ms(services.store, options.deadline)
    for _ in intake.accept(drafts):
        pass
    if fault := metric_fault(options, intake.totals):
        intake.faults.append(fault)
    totals, counted = intake.totals, intake.model.tokenizer is not None
    return CheckView(
        valid=not intake.faults,
        model=intake.model.card.id,
        items=totals.items,
        prompt_tokens=totals.prompt_tokens if counted else None,
        max_prompt_tokens=totals.max_prompt_tokens if counted else None,
        max_completion_tokens=totals.max_completion_tokens,
        seconds=estimate(services.store, tenant, intake.model.card, totals.max_completion_tokens),
        errors=[
            ErrorEntry.model_validate(fault)
            for fault in (*intake.faults, *intake.stayed)[:MOST_FAULTS]
        ],
    )


def estimate(
    store: JobStore, tenant: str, card: ModelCard, max_completion_tokens: int
) -> TimeRange | None:
    """Seconds once it starts, from "as short answers and as fast as the best" to "all of
    max_tokens, as the slowest".

    None when no job of this tenant finished on these weights, or none took long enough to measure.
    """
    jobs, _ = store.jobs(tenant, None, LOOK_BACK)
    speeds, shares = [], []
    for job in jobs:
        if job.digest != card.digest or job.status != JobState.COMPLETED:
            continue
        if job.started_at is None or job.finished_at is None:  # a damaged record
            continue
        seconds = (job.finished_at - job.started_at) / 1000  # ms to s
        generated, asked = job.completion_tokens, job.cost * job.total - job.prompt_tokens
        if seconds >= 1 and generated and asked > 0:
            speeds.append(generated / seconds)
            shares.append(min(1.0, generated / asked))
    if not speeds:
        return None
    return TimeRange(
        low=round(max_completion_tokens * min(shares) / max(speeds), 1),
        high=round(max_completion_tokens / min(speeds), 1),
    )
