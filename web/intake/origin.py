"""Where a job comes from, and what is different about the job for that."""

from __future__ import annotations

from dataclasses import dataclass

from common.store.batches import job_of
from common.store.job import InputFrom
from common.types import JsonObject

INTERACTIVE = {"interactive": 1, "retention": 60_000}  # ms; the client has the answer by then


@dataclass(frozen=True)
class Accepted:
    """What was found out about a job's items when they were read: enough to make another job of
    the same items without reading them again. `slots` as `Stage` has them."""

    job_id: str
    items: int
    bytes: int
    slots: tuple[int, int]
    totals: dict[str, int]
    rendered_at: int


@dataclass(frozen=True)
class Origin:
    """Made by one of the functions below.

    `job_id` is what the job is to be called; None for a random name. `default_max_tokens` is what
    an item gets, as far as it fits, that was given none; None for the native API's default. `again`
    is what was found out about the same items before: they are not read where that job is still
    there to be copied. `sent` is what the request said, where its items come from the store.
    """

    idempotency_key: str | None = None
    job_id: str | None = None
    default_max_tokens: int | None = None
    retry_of: str | None = None
    rerun_of: str | None = None
    sent: JsonObject | None = None
    batch_id: str | None = None
    is_interactive: bool = False
    is_trial: bool = False
    again: Accepted | None = None
    input_from: InputFrom | None = None

    @classmethod
    def native(cls, idempotency_key: str | None = None, trial: bool = False) -> Origin:
        """The native API, or the form, which may try only the first items."""
        return cls(idempotency_key, is_trial=trial)

    @classmethod
    def retry(cls, of: str, idempotency_key: str | None = None) -> Origin:
        """Items of job `of` that failed. The two jobs name each other."""
        return cls(idempotency_key, retry_of=of, sent={"retry": of})

    @classmethod
    def rerun(cls, of: str, asked: JsonObject, idempotency_key: str | None = None) -> Origin:
        """Items of job `of`, run again as `asked`."""
        return cls(idempotency_key, rerun_of=of, sent={"rerun": of, **asked})

    @classmethod
    def derived(cls, job_id: str, input_from: InputFrom) -> Origin:
        """The rows of other jobs, for which the job waited under this id. A row that cannot be run
        stays in the job and fails there."""
        return cls(job_id=job_id, input_from=input_from, sent={})

    @classmethod
    def interactive(
        cls, job_id: str, default_max_tokens: int, idempotency_key: str | None = None
    ) -> Origin:
        """A client that waits on an open connection. The job goes first, is in no list, and is kept
        only for a moment after its end."""
        return cls(idempotency_key, job_id, default_max_tokens, is_interactive=True)

    @classmethod
    def batch(
        cls, batch_id: str, default_max_tokens: int | None = None, again: Accepted | None = None
    ) -> Origin:
        """The lines of a batch's file. The job's name follows from the batch's, so that there is
        one however often the file is read. A line that cannot be run stays in the job and fails
        there."""
        return cls(
            job_id=job_of(batch_id),
            default_max_tokens=default_max_tokens,
            batch_id=batch_id,
            again=again,
        )

    @property
    def keeps_refused(self) -> bool:
        """Whether an item that cannot be run stays in the job, to fail there."""
        return self.batch_id is not None or self.input_from is not None

    def fields(self) -> dict[str, str | int]:
        """What the job's record has for it."""
        found: dict[str, str | int] = dict(INTERACTIVE) if self.is_interactive else {}
        if self.is_trial:
            found["trial"] = 1
        if self.batch_id:
            found["batch"] = self.batch_id
        if self.retry_of:
            found["retry_of"] = self.retry_of
        if self.rerun_of:
            found["rerun_of"] = self.rerun_of
        return found | (self.input_from.field() if self.input_from else {})
