"""The one way into the queue: every job, from the form, the native API or another dialect, is made
by `enqueue_job`.

Nothing after it validates again. Items are checked, counted and written a chunk at a time, never
held whole. If anything is wrong, what was staged is discarded and nothing is enqueued.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from common.errors import InvalidRequest, NotFound, Unavailable
from common.params import SamplingParams
from common.settings import Settings
from common.store.admission import refuse_overfull
from common.store.job_spec import JobSpec
from common.store.jobs import JobStore, new_job_id
from common.store.submitted import Attached, key_reused
from common.store.upload_stage import Stage
from common.types import ModelCard
from web.intake.asked_metrics import asked_at_end, metric_fault
from web.intake.check import Intake
from web.intake.drafts import Draft
from web.intake.formats import Formats
from web.intake.idempotency import Idempotency
from web.intake.origin import Accepted, Origin
from web.intake.presets import resolve_preset
from web.intake.staging import deadline_ms, fill, queue_limits, staged
from web.intake.totals import Totals
from web.schemas.requests import JobOptions
from web.services.rings import ring_workers
from web.services.services import Services

DAY = 86_400_000  # ms

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Enqueued:
    """`replayed`: the idempotency key had made this job before."""

    job_id: str
    replayed: bool
    prompt_tokens: int = 0  # of all items, as far as they could be counted
    accepted: Accepted | None = None


def enqueue_job(
    services: Services, tenant: str, options: JobOptions, drafts: Iterable[Draft], origin: Origin
) -> Enqueued:
    """Validate, stage, attach, ring. The job is durable when this returns.

    Raises:
        InvalidRequest: with every problem found, up to 100, in `errors`.
        NotFound: no such model or preset.
        Conflict: the idempotency key made a job of other content, or one that is gone.
        TooMany: the tenant has as much waiting as it may; StorageFull: it keeps as much.
        Unavailable: Redis is away, or as much waits in all as may.
    """
    content = Idempotency(origin.idempotency_key)
    content.begin(options, drafts, origin.sent)  # as sent: without what preset and model add
    if not origin.is_interactive and (before := _replayed(services.store, tenant, content, drafts)):
        return before
    model = services.models.choose(options.model)
    if origin.sent is None:  # a stored job's preset has gone into its options
        options = resolve_preset(services, tenant, options)
    given, options = options.params, with_defaults(options, model.card)
    formats = Formats(services.grammars, tenant, model)
    fallback = origin.default_max_tokens
    intake = Intake(model, options, services.settings, formats, fallback, origin.keeps_refused)
    intake.defaulted = options.params.model_fields_set - given.model_fields_set
    intake.notes_fitted = not origin.is_interactive  # nobody runs a chat again
    deadline = deadline_ms(services.store, options.deadline)
    limits = queue_limits(services.settings)
    with staged(services.store, options.params.n) as stage:
        if not _staged_again(services.store, origin.again, stage, intake):
            fill(stage, intake, drafts, content)
        totals = intake.totals
        services.admission.check_memory(totals.cost * totals.items, totals.all_surplus)
        attached = services.store.attach(
            stage,
            {"tenant": tenant, **job_fields(services.settings, intake), **origin.fields()},
            job_id=origin.job_id or new_job_id(),
            idempotency=content.use(),
            deadline=deadline,
            limits=limits,
        )
    refuse_overfull(attached.outcome, limits)
    if _made_before(attached):
        return Enqueued(attached.job_id, True, totals.prompt_tokens)
    ring_workers(services, model.card.id, attached.rings, attached.job_id)
    log.info("submitted", extra={"job": attached.job_id, "tenant": tenant, "items": totals.items})
    found = stage.total, stage.bytes, stage.slots, asdict(totals), intake.rendered_at
    accepted = Accepted(attached.job_id, *found)
    return Enqueued(attached.job_id, False, totals.prompt_tokens, accepted)


def _replayed(
    store: JobStore, tenant: str, content: Idempotency, drafts: Iterable[Draft]
) -> Enqueued | None:
    """The job that the key has made already, found before anything is checked: what was valid then
    may be refused today. None where there is no such job, or only `attach` can tell."""
    found = store.made_with(tenant, content.key) if content.key else None
    if found is None:
        return None
    if not content.made(drafts, found):
        raise key_reused("job")
    return Enqueued(found.made, True)


def with_defaults(options: JobOptions, card: ModelCard) -> JobOptions:
    """The options, with the model's own settings where they say nothing. The job keeps these: a
    later card does not change it."""
    if not card.defaults:
        return options
    params = SamplingParams.model_validate(
        card.defaults | options.params.model_dump(mode="json", exclude_unset=True)
    )
    return options.model_copy(update={"params": params})


def _staged_again(store: JobStore, again: Accepted | None, stage: Stage, intake: Intake) -> bool:
    """Whether the items could be copied from the job that was made of them before."""
    if again is None or not store.copy_items(again.job_id, stage, again.items):
        return False
    stage.take(again.items, again.bytes, again.slots)
    stage.prep = store.prep(again.job_id) or None
    intake.totals, intake.rendered_at = Totals(**again.totals), again.rendered_at
    return True


def _made_before(attached: Attached) -> bool:
    """Whether the idempotency key had made this job already. Raises what `enqueue_job` says where
    no job was made."""
    if attached.outcome == "conflict":
        raise key_reused("job")
    if attached.outcome == "deleted":
        raise NotFound("what the job is made for was deleted meanwhile")
    if attached.outcome == "lost":
        raise Unavailable("what was uploaded is not on the server any more; send it again")
    return attached.outcome == "same"


def job_fields(settings: Settings, intake: Intake) -> dict[str, str | int | float]:
    """The fields of the job's record that come from the request.

    Raises:
        InvalidRequest: it asks for a metric that no item can have.
    """
    card, totals, options = intake.model.card, intake.totals, intake.options
    if fault := metric_fault(options, totals):
        raise InvalidRequest(fault["message"], code=fault["code"], field=fault["field"])
    spec: JobSpec = {
        "model": card.id,
        "params": options.params.model_dump(mode="json", exclude_unset=True),
        "webhook": None,
        "metadata": options.metadata,
        "limits": options.limits.model_dump(),
        "rendered_at": intake.rendered_at,
    }
    if intake.defaulted:
        spec["defaulted"] = sorted(intake.defaulted)
    if hook := options.webhook:
        spec["webhook"] = {"url": hook.url, "events": list(hook.events), "secret": hook.secret}
    if options.chat_template_kwargs:
        spec["chat_template_kwargs"] = options.chat_template_kwargs
    if options.metrics:
        spec["metrics"] = options.metrics
    if not options.evaluate:
        spec["evaluate"] = False
    asked = asked_at_end(options, totals)
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
        "retention": int(settings.retention_days * DAY),
        "spec": json.dumps(spec, ensure_ascii=False),
        **({"evaluate": asked.to_json()} if asked else {}),
    }
