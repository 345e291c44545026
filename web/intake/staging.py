"""What a new job and an append have in common: items are checked and staged, within what may
wait."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime

from pydantic_core import to_json

from common.errors import InvalidRequest, Unavailable
from common.settings import Settings
from common.store.admission import Limits
from common.store.jobs import JobStore
from common.store.upload_stage import Stage
from web.intake.check import Intake
from web.intake.drafts import Draft
from web.intake.idempotency import Idempotency


@contextmanager
def staged(store: JobStore, n: int) -> Iterator[Stage]:
    """A stage that is discarded if anything inside fails. If Redis is away by then, its TTL removes
    it."""
    stage = store.stage(n)
    try:
        yield stage
    except BaseException:
        with suppress(Unavailable):
            stage.discard()
        raise


def fill(stage: Stage, intake: Intake, drafts: Iterable[Draft], content: Idempotency) -> None:
    """Stage the drafts as items.

    Raises:
        InvalidRequest: something is wrong with some of them.
    """
    for record, side in intake.accept(content.watch(drafts)):
        stage.add(record, side)
        content.add_stored(record)
    intake.raise_faults()
    stage.prep = intake.prep or None
    if intake.options.params.output is not None:
        stage.format_bytes = len(to_json(intake.options.params.output))
    stage.close_for_attach()


def queue_limits(settings: Settings) -> Limits:
    """What may wait and what may be kept, as the settings say."""
    return Limits(
        tenant_items=settings.max_queued_items,
        tenant_tokens=settings.max_queued_tokens,
        tenant_bytes=settings.max_queued_bytes,
        total_items=settings.max_total_items,
        total_tokens=settings.max_total_tokens,
        total_bytes=settings.max_total_bytes,
        stored_bytes=settings.max_stored_bytes,
    )


def deadline_ms(store: JobStore, wanted: datetime | float | None) -> int:
    """A deadline in ms of the server's clock; 0 for none. `wanted` is a moment, or seconds from
    now.

    Raises:
        InvalidRequest: it has passed.
    """
    if wanted is None:
        return 0
    now = store.now()
    moment = (
        int(wanted.timestamp() * 1000) if isinstance(wanted, datetime) else now + int(wanted * 1000)
    )
    if moment <= now:
        raise InvalidRequest("deadline has passed already", code="out_of_range", field="deadline")
    return moment
