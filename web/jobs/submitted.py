"""What a job was submitted with, read back from the store."""

from __future__ import annotations

from collections.abc import Iterator

from common.store.job_prep import JobPrep
from common.store.job_spec import JobSpec
from common.store.rows import TEMPLATE_KWARGS
from common.stored_item import StoredItem
from web.intake.preparation import sent
from web.intake.validation_messages import validated
from web.schemas.requests import JobOptions, UploadOptions
from web.services.services import Services

PAGE = 500  # items read at a time
OPTIONS = {
    *("model", "params", TEMPLATE_KWARGS, "webhook", "metadata", "limits"),
    *("metrics", "evaluate"),
}


def options_of(spec: JobSpec, prep: JobPrep) -> JobOptions:
    """The job's options, without its deadline, which was a moment, and its priority, which another
    job is to have by itself. Its preset has gone into the rest, and is only named.

    Raises:
        InvalidRequest: it was accepted by an earlier version, whose bounds were wider.
    """
    given = {name: value for name, value in spec.items() if name in OPTIONS}
    return validated(UploadOptions if "mapped" in prep else JobOptions, given | sent(prep))


def all_items(services: Services, job_id: str) -> Iterator[StoredItem]:
    """The records of all its items, in order."""
    first = 0
    while page := services.store.items(job_id, first, PAGE):
        yield from page
        first += len(page)
