"""Makes the jobs of a sweep: one for each combination of parameters, all of the same items.

Items are checked and staged once for each set of those parameters that decide how they are stored
(`SHAPING`); for the other combinations what was staged is copied. Everything is counted before
anything is copied, and all jobs are made together or none is.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from copy import copy
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from common.errors import InvalidRequest, TooLarge
from common.params import SamplingParams
from common.store.admission import Limits
from common.store.submitted import key_reused
from common.store.sweeps import NewJob, job_of, new_sweep_id
from common.store.upload_stage import Stage
from common.types import JsonObject
from web.intake.check import Intake
from web.intake.drafts import Draft, Drafts
from web.intake.enqueue import job_fields, with_defaults
from web.intake.formats import Formats
from web.intake.idempotency import Idempotency
from web.intake.presets import resolve_preset
from web.intake.staging import deadline_ms, fill, queue_limits, staged
from web.intake.sweep_values import checked_values, combined
from web.schemas.requests import JobOptions
from web.schemas.sweeps import AnySweep
from web.services.models import Model
from web.services.rings import ring_workers
from web.services.services import Services

# What the record of an item, what its job is expected to need, or whether it can run depends on.
SHAPING = {"max_tokens", "min_tokens", "n", "logprobs", "prompt_logprobs", "output"}
MOST_TOLD = 80  # characters of a value that a message names

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EnqueuedSweep:
    """`replayed`: the idempotency key had made this sweep before."""

    sweep_id: str
    replayed: bool


@dataclass(frozen=True)
class _Combination:
    params: JsonObject  # what is varied
    options: JobOptions  # with them

    @property
    def shape(self) -> str:
        """The same for combinations whose items are stored the same."""
        given = self.options.params.model_dump(include=SHAPING, exclude_unset=True)
        return json.dumps(given, sort_keys=True)


@dataclass(frozen=True)
class _Staged:
    """Items that are staged, and what was found out about them."""

    stage: Stage
    intake: Intake


def enqueue_sweep(
    services: Services, tenant: str, options: AnySweep, drafts: Drafts, key: str | None = None
) -> EnqueuedSweep:
    """Make a job for each combination of `options.sweep`, all or none; durable when this returns.

    Raises:
        InvalidRequest: with every problem found, up to 100, in `errors`.
        TooLarge: all combinations together have more items than a tenant may have waiting.
        NotFound, Conflict, TooMany, StorageFull, Unavailable: as `enqueue_job` does.
    """
    content = Idempotency(key)
    content.begin(options, drafts)  # as it was sent: without what preset and model add
    if before := _replayed(services, tenant, content, drafts):
        return before
    model = services.models.choose(options.model)
    varied = checked_values(options, model)
    combinations = _combinations(services, tenant, options, varied, model)
    limits = queue_limits(services.settings)
    deadline = deadline_ms(services.store, options.deadline)
    with ExitStack() as stages:
        source = drafts, content, limits
        by_shape = _stage(services, stages, tenant, model, combinations, *source)
        groups = [by_shape[each.shape] for each in combinations]
        _check_room(services, tenant, groups, limits)
        sweep_id = new_sweep_id()
        jobs = _jobs(services, stages, combinations, groups, {"tenant": tenant, "sweep": sweep_id})
        fields = {
            "model": model.card.id,
            "items": jobs[0].stage.total,
            "varied": json.dumps(varied, ensure_ascii=False),
            "metadata": json.dumps(options.metadata, ensure_ascii=False),
        }
        begun = services.sweeps.create(
            *(sweep_id, tenant, fields, jobs),
            idempotency=content.use(),
            deadline=deadline,
            limits=limits,
        )
    if begun.outcome == "conflict":
        raise key_reused("sweep")
    if begun.outcome == "same":
        return EnqueuedSweep(begun.sweep_id, True)
    ring_workers(services, model.card.id, begun.rings, job_of(sweep_id, 0))
    log.info("submitted", extra={"sweep": sweep_id, "tenant": tenant, "jobs": len(jobs)})
    return EnqueuedSweep(sweep_id, False)


def _replayed(
    services: Services, tenant: str, content: Idempotency, drafts: Drafts
) -> EnqueuedSweep | None:
    """The sweep that the key has made already, as for jobs."""
    found = services.sweeps.made_with(tenant, content.key) if content.key else None
    if found is None:
        return None
    if not content.made(drafts, found):
        raise key_reused("sweep")
    return EnqueuedSweep(found.made, True)


def _combinations(
    services: Services,
    tenant: str,
    options: JobOptions,
    varied: Mapping[str, Sequence[Any]],
    model: Model,
) -> list[_Combination]:
    resolved = resolve_preset(services, tenant, options)
    given = resolved.params.model_dump(mode="json", exclude_unset=True)
    found = []
    for params in combined(varied):
        merged = SamplingParams.model_validate(given | params)
        with_params = resolved.model_copy(update={"params": merged})
        found.append(_Combination(params, with_defaults(with_params, model.card)))
    return found


def _stage(
    services: Services,
    stages: ExitStack,
    tenant: str,
    model: Model,
    combinations: Sequence[_Combination],
    drafts: Drafts,
    content: Idempotency,
    limits: Limits,
) -> dict[str, _Staged]:
    """Check and stage the items once for each shape that the combinations have."""
    by_shape: dict[str, _Staged] = {}
    rendered_at = int(time.time())
    for each in combinations:
        if each.shape in by_shape:
            continue
        stage = stages.enter_context(staged(services.store, each.options.params.n))
        formats = Formats(services.grammars, tenant, model)
        try:
            intake = Intake(
                model, each.options, services.settings, formats, rendered_at=rendered_at
            )
            fill(stage, intake, _bounded(drafts, len(combinations), limits), content)
        except InvalidRequest as error:
            _tell_combination(error, each)
            raise
        by_shape[each.shape] = _Staged(stage, intake)
        content = Idempotency(None)  # all was read once
    for each in combinations:
        by_shape[each.shape].intake.formats.check_job(each.options.params)
        by_shape[each.shape].intake.scores.check_job(each.options.params)
    return by_shape


def _bounded(drafts: Iterable[Draft], combinations: int, limits: Limits) -> Iterator[Draft]:
    """The drafts, as long as all jobs together may still have so many items waiting."""
    for count, draft in enumerate(drafts, start=1):
        if limits.tenant_items and count * combinations > limits.tenant_items:
            message = (
                f"{combinations} combinations of {count:,} items or more are over "
                f"{limits.tenant_items:,}, which is what you may have waiting; take fewer "
                "combinations or items"
            )
            raise TooLarge(message, field="sweep")
        yield draft


def _tell_combination(error: InvalidRequest, each: _Combination) -> None:
    """Say with which values an item is wrong, where that depends on them."""
    values = {name: value for name, value in each.params.items() if name in SHAPING}
    if not values:
        return
    told = ", ".join(f"{name} {_short(value)}" for name, value in values.items())
    error.message += f" (with {told})"
    for entry in error.errors:
        entry["message"] += f" (with {told})"


def _short(value: JsonValue) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MOST_TOLD else f"{text[:MOST_TOLD]}…"


def _check_room(services: Services, tenant: str, groups: Sequence[_Staged], limits: Limits) -> None:
    """Refuse what there is no room for, before anything is copied.

    Raises:
        TooMany, StorageFull, Unavailable: a limit of what waits or is kept would be passed, or of
            the server's memory.
    """
    totals = [group.intake.totals for group in groups]
    tokens = sum(each.cost * each.items for each in totals)
    services.admission.check_memory(tokens, sum(each.all_surplus for each in totals))
    size = sum(group.stage.bytes + group.stage.prep_bytes for group in groups)
    items = sum(each.items for each in totals)
    services.admission.check_waiting(tenant, (items, tokens, size), limits)


def _jobs(
    services: Services,
    stages: ExitStack,
    combinations: Sequence[_Combination],
    groups: Sequence[_Staged],
    origin: Mapping[str, str],
) -> list[NewJob]:
    """The jobs that are to be made. The first of a shape takes what was staged, the others take
    copies."""
    jobs: list[NewJob] = []
    taken: set[str] = set()
    for each, group in zip(combinations, groups, strict=True):
        stage = group.stage
        if stage.id in taken:
            stage = stages.enter_context(staged(services.store, each.options.params.n))
            stage.prep, stage.format_bytes = group.stage.prep, group.stage.format_bytes
            services.sweeps.copy_stage(group.stage, stage)
        taken.add(stage.id)
        intake = copy(group.intake)
        intake.options = each.options
        totals = intake.totals
        fields = {**job_fields(services.settings, intake), **origin}
        jobs.append(NewJob(stage, fields, totals.cost * totals.items))
    return jobs
