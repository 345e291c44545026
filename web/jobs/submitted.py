"""What a job was submitted with, read back from the store."""

from __future__ import annotations

from collections.abc import Iterator

from common.store.job_prep import JobPrep
from common.store.job_spec import JobSpec
from common.store.rows import TEMPLATE_KWARGS
from common.stored_item import StoredItem
from common.types import ItemState
from web.intake.drafts import Draft
from web.intake.preparation import sent
from web.intake.validation_messages import validated
from web.schemas.requests import Item, JobOptions
from web.services.services import Services

PAGE = 500  # items read at a time
OPTIONS = {"model", "params", TEMPLATE_KWARGS, "webhook", "metadata", "limits"}


def options_of(spec: JobSpec, prep: JobPrep) -> JobOptions:
    """The job's options, without its deadline, which was a moment, its priority, which another job
    is to have by itself, and its preset, which has gone into the rest.

    Raises:
        InvalidRequest: it was accepted by an earlier version, whose bounds were wider.
    """
    given = {name: value for name, value in spec.items() if name in OPTIONS}
    return validated(JobOptions, given | sent(prep))


def all_items(services: Services, job_id: str) -> Iterator[StoredItem]:
    """The records of all its items, in order."""
    first = 0
    while page := services.store.items(job_id, first, PAGE):
        yield from page
        first += len(page)


def failed_items(services: Services, job_id: str, spec: JobSpec) -> Iterator[Draft]:
    """Items that failed, as drafts; without those that were refused, which would be again."""
    first = 0
    while page := services.store.answers(job_id, first, PAGE, spec):
        for item, row in page:
            if row["status"] == ItemState.FAILED and "refused" not in item:
                given = {name: value for name, value in item.items() if name in Item.model_fields}
                yield Draft(given, path=f"items.{row['index']}")
        first += len(page)
