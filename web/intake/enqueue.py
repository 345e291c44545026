"""The one entrance: every job, from the form, the native API or another dialect, comes to be in
`submit_job`.

Nothing behind it validates again. Items stream through: checked, counted and written a chunk at a
time, never held whole; whatever goes wrong, what was staged is discarded and nothing is enqueued.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from common.errors import Conflict, InvalidRequest, NotFound, Unavailable
from common.params import SamplingParams
from common.settings import Settings
from common.store.batches import job_of
from common.store.jobs import TEMPLATE_KWARGS, Attached, JobStore, new_job_id, refuse_overfull
from common.store.upload_stage import Stage
from common.types import ModelCard
from web.intake.check import Intake, Totals
from web.intake.drafts import Draft
from web.intake.estimate import estimate
from web.jobs.views import job_view
from web.schemas.answers import CheckView, ErrorEntry, JobView
from web.schemas.headers import IDEMPOTENCY_KEY
from web.schemas.requests import JobOptions
from web.services.services import Services

DAY = 86_400_000  # ms
INTERACTIVE = {"interactive": 1, "retention": 60_000}  # ms; whoever asked has the answer by then

log = logging.getLogger(__name__)


class KeyReused(Conflict):
    """An idempotency key came again with other content."""

    status = 422
    code = "idempotency_key_reused"


def submit_job(
    services: Services,
    tenant: str,
    options: JobOptions,
    drafts: Iterable[Draft],
    *,
    idempotency_key: str | None = None,
    retry_of: str | None = None,
    default_max_tokens: int | None = None,
    batch: str | None = None,
) -> JobView:
    """`enqueue_job`, and how the job stands then."""
    made = enqueue_job(
        services,
        tenant,
        options,
        drafts,
        idempotency_key=idempotency_key,
        retry_of=retry_of,
        default_max_tokens=default_max_tokens,
        batch=batch,
    )
    return (
        _replay(services, made.job_id, tenant)
        if made.replayed
        else job_view(services, made.job_id, tenant)
    )


@dataclass(frozen=True)
class Accepted:
    """What was found of a job's items, with which another is made of the same ones; `slots` as
    `Stage` has them."""

    job_id: str
    items: int
    bytes: int
    slots: tuple[int, int]
    totals: dict[str, int]
    rendered_at: int


@dataclass(frozen=True)
class Enqueued:
    """`replayed`: the idempotency key had made this job before."""

    job_id: str
    replayed: bool
    prompt_tokens: int = 0  # of all items, as far as they could be counted
    accepted: Accepted | None = None


def enqueue_job(
    services: Services,
    tenant: str,
    options: JobOptions,
    drafts: Iterable[Draft],
    *,
    job_id: str | None = None,
    interactive: bool = False,
    idempotency_key: str | None = None,
    retry_of: str | None = None,
    default_max_tokens: int | None = None,
    batch: str | None = None,
    again: Accepted | None = None,
) -> Enqueued:
    """Validate, stage, attach, ring. The job is durable when this returns.

    `job_id` is what a new job is to be called. An `interactive` one goes first, is in no list of
    jobs, and is kept only for a moment after its end. `retry_of` is the job it links back to;
    `default_max_tokens` what an item gets, as far as it fits, that was given none. `batch` is whose
    lines the items are: it names the job, which is so made once, and an item that cannot be run
    stays in it and fails there. `again` is what was found of the same drafts before: they are not
    read where a job of them is still there to be copied.

    Raises:
        InvalidRequest: with every problem found, up to 100, in `errors`.
        NotFound: no such model.
        Conflict: the idempotency key made a job of other content, or one that is gone.
        TooMany: the tenant has as much waiting as it may; StorageFull: it keeps as much.
        Unavailable: Redis is away, or as much waits in all as may.
    """
    check_key(idempotency_key)
    model = services.cards.choose(options.model)
    # Of what was sent, without what the model adds.
    fingerprint = Fingerprint(options.model_dump(mode="json"))
    options = _with_defaults(options, model.card)
    intake = Intake(
        model, options, services.settings, default_max_tokens, refused_stay=batch is not None
    )
    deadline, limits = (
        deadline_ms(services.store, options.deadline),
        queue_limits(services.settings),
    )
    with staged(services.store, options.params.n) as stage:
        if again is None or not _staged_again(services.store, again, stage, intake):
            _fill(stage, intake, drafts, fingerprint if idempotency_key else None)
        services.store.check_memory(
            intake.totals.cost * intake.totals.items, intake.totals.all_surplus
        )
        attached = services.store.attach(
            stage,
            {
                "tenant": tenant,
                **_fields(services, intake, options),
                **(INTERACTIVE if interactive else {}),
                **({"batch": batch} if batch else {}),
                **({"retry_of": retry_of} if retry_of else {}),
            },
            job_id=job_of(batch) if batch else job_id or new_job_id(),
            idempotency=(idempotency_key, fingerprint.value()) if idempotency_key else ("", ""),
            deadline=deadline,
            limits=limits,
        )
    refuse_overfull(attached.outcome, limits)
    if _made_before(attached):
        return Enqueued(attached.job_id, True, intake.totals.prompt_tokens)
    ring(services, intake.model.card.id, attached.rings, attached.job_id)
    log.info(
        "submitted", extra={"job": attached.job_id, "tenant": tenant, "items": intake.totals.items}
    )
    found = stage.total, stage.bytes, stage.slots, asdict(intake.totals), intake.rendered_at
    return Enqueued(
        attached.job_id, False, intake.totals.prompt_tokens, Accepted(attached.job_id, *found)
    )


def _fill(
    stage: Stage, intake: Intake, drafts: Iterable[Draft], fingerprint: Fingerprint | None
) -> None:
    """Stage the drafts, if nothing is wrong with any."""
    for record in intake.accept(drafts):
        stage.add(record)
        if fingerprint:
            fingerprint.add(record)
    intake.raise_faults()
    stage.close_for_attach()


def _staged_again(store: JobStore, again: Accepted, stage: Stage, intake: Intake) -> bool:
    if not store.copy_items(again.job_id, stage, again.items):
        return False
    stage.take(again.items, again.bytes, again.slots)
    intake.totals, intake.rendered_at = Totals(**again.totals), again.rendered_at
    return True


def _with_defaults(options: JobOptions, card: ModelCard) -> JobOptions:
    """The job keeps the model's own settings where it says nothing: a later card does not change
    it."""
    if not card.defaults:
        return options
    params = SamplingParams.model_validate(
        card.defaults | options.params.model_dump(mode="json", exclude_unset=True)
    )
    return options.model_copy(update={"params": params})


def _made_before(attached: Attached) -> bool:
    """Whether the idempotency key had made this job already. Raises what `enqueue_job` says where
    nothing was made."""
    if attached.outcome == "conflict":
        message = (
            "this Idempotency-Key was used for a job with other content; take a new key for "
            "a new job"
        )
        raise KeyReused(message, field="Idempotency-Key")
    if attached.outcome == "deleted":
        raise NotFound("the batch was deleted while its job was being made")
    if attached.outcome == "lost":
        raise Unavailable("what was uploaded is not on the server any more; send it again")
    return attached.outcome == "same"


def check_job(
    services: Services, options: JobOptions, drafts: Iterable[Draft], *, tenant: str | None = None
) -> CheckView:
    """Everything `submit_job` would say of the same content, and what it would cost; nothing is
    written.

    `tenant` is whose recent jobs tell how long it may take.
    """
    model = services.cards.choose(options.model)
    intake = Intake(model, _with_defaults(options, model.card), services.settings)
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


def check_key(idempotency_key: str | None) -> None:
    if idempotency_key is not None and not IDEMPOTENCY_KEY.fullmatch(idempotency_key):
        raise InvalidRequest(
            "Idempotency-Key must be 1 to 255 visible ASCII characters", field="Idempotency-Key"
        )


class Fingerprint:
    """Of what is sent, so that a key sent again with other content is noticed. `about` is all but
    the items."""

    def __init__(self, about: dict[str, Any]):
        self._hash = hashlib.sha256()
        self.add(about)

    def add(self, part: dict[str, Any]) -> None:
        self._hash.update(json.dumps(part, sort_keys=True).encode())

    def value(self) -> str:
        return self._hash.hexdigest()


@contextmanager
def staged(store: JobStore, n: int) -> Iterator[Stage]:
    """A stage that is gone again if anything inside goes wrong. If Redis is away by then, its TTL
    removes it."""
    stage = store.stage(n)
    try:
        yield stage
    except BaseException:
        with suppress(Unavailable):
            stage.discard()
        raise


def queue_limits(settings: Settings) -> tuple[int, ...]:
    """What may wait: items, tokens and bytes of the tenant, then in all; and what bytes the tenant
    may keep."""
    return (
        settings.max_queued_items,
        settings.max_queued_tokens,
        settings.max_queued_bytes,
        settings.max_total_items,
        settings.max_total_tokens,
        settings.max_total_bytes,
        settings.max_stored_bytes,
    )


def _fields(services: Services, intake: Intake, options: JobOptions) -> dict[str, Any]:
    """The job hash's fields that come from the request."""
    card, totals = intake.model.card, intake.totals
    spec: dict[str, Any] = {
        "model": card.id,
        "params": options.params.model_dump(mode="json", exclude_unset=True),
        "webhook": options.webhook.model_dump(mode="json") if options.webhook else None,
        "metadata": options.metadata,
        "limits": options.limits.model_dump(),
        "rendered_at": intake.rendered_at,
    }
    if options.chat_template_kwargs:
        spec[TEMPLATE_KWARGS] = options.chat_template_kwargs
    return {
        "model": card.id,
        "digest": card.digest,
        "total": totals.items,
        "cost": totals.cost,
        "surplus": totals.surplus,
        "n_max": totals.n_max,
        "streams": totals.streams,
        "priority": options.priority,
        "token_budget": options.limits.tokens or 0,
        "error_rate": options.limits.error_rate or 0,
        "hooks": ",".join(options.webhook.events) if options.webhook else "",
        "retention": int(services.settings.retention_days * DAY),
        "spec": json.dumps(spec, ensure_ascii=False),
    }


def deadline_ms(store: JobStore, wanted: datetime | float | None) -> int:
    """In ms of the server's clock; 0 for none."""
    if wanted is None:
        return 0
    now = store.now()
    moment = (
        int(wanted.timestamp() * 1000) if isinstance(wanted, datetime) else now + int(wanted * 1000)
    )
    if moment <= now:
        raise InvalidRequest("deadline has passed already", code="out_of_range", field="deadline")
    return moment


def _replay(services: Services, job_id: str, tenant: str) -> JobView:
    try:
        view = job_view(services, job_id, tenant)
    except NotFound:
        raise Conflict(
            f"this Idempotency-Key made {job_id}, which was deleted since", code="job_deleted"
        ) from None
    view._replayed = True
    return view


def ring(services: Services, model: str, rings: int, job_id: str) -> None:
    """A ring that fails is repaired by the next tick; the job is durable already and stays
    accepted."""
    try:
        services.ring_sender.send(model, rings)
    except Unavailable as error:
        log.warning("submitted, but no worker could be rung: %s", error, extra={"job": job_id})
