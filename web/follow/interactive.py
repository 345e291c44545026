"""One interactive request: a job whose client waits for the answer on an open connection.

It ends with the answer, or when it takes too long, no worker serves the model, the server is about
to end, or the client hangs up. What is left of the job is then cancelled, so that its slots are
free for others.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from common.errors import Conflict, InvalidRequest, NotFound, PromptmillError, Unavailable
from common.result_row import RowResult
from common.store.grants import Grant
from common.store.jobs import new_job_id
from common.types import JobState
from web.intake.drafts import Draft
from web.intake.enqueue import enqueue_job
from web.intake.origin import Origin
from web.schemas.requests import JobOptions
from web.services.caps import open_chat
from web.services.services import Services

POLL = 0.5  # seconds between two looks at whether the client is still there

log = logging.getLogger(__name__)

HungUp = Callable[[], bool]


class ClientGone(PromptmillError):
    """The client hung up: no one will read the answer."""

    status = 499
    code = "client_gone"


class TookTooLong(PromptmillError):
    status = 504
    code = "timeout"


class NoWorker(Unavailable):
    code = "no_worker"


class InteractiveRequest:
    """A job that is wanted until `close`. `job_id` is that of the job, or with an idempotency key
    of an earlier one; `prompt_tokens` are those of all prompts, as far as they could be counted."""

    def __init__(
        self,
        services: Services,
        grant: Grant,
        model: str,
        prompts: Sequence[Draft],
        *,
        default_max_tokens: int,
        hung_up: HungUp,
        idempotency_key: str | None = None,
    ):
        """Submit the prompts to a model, each as one item; `default_max_tokens` is for those that
        have none. Raises what `enqueue_job` does."""
        self.began = time.monotonic()
        self._services = services
        self._hung_up = hung_up
        self._closed = False
        self.model = services.models.served_name(model)
        self._count = len(prompts)
        settings = services.settings
        self._end = time.monotonic() + settings.request_timeout
        self._look_for_worker = time.monotonic()
        self._missing_since: float | None = None
        with ExitStack() as stack:
            job_id = new_job_id()
            # Before it exists: nothing is missed.
            self.watch = stack.enter_context(open_chat(services, grant, job_id))
            self.watch.missed, self.watch.status = False, JobState.QUEUED
            with _as_one_request():
                options = JobOptions.model_validate({"model": model})
                origin = Origin.interactive(job_id, default_max_tokens, idempotency_key)
                made = enqueue_job(services, grant.tenant, options, prompts, origin)
            self.job_id, self.prompt_tokens = made.job_id, made.prompt_tokens
            if made.replayed:
                self.watch = stack.enter_context(open_chat(services, grant, made.job_id))
                self._find(grant.tenant)
            self._may_cancel = not made.replayed  # an earlier request may still wait for it
            self._stack = stack.pop_all()

    def __enter__(self) -> InteractiveRequest:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """The client waits no more; a job that is not over is cancelled. A second call does
        nothing."""
        if self._closed:
            return
        self._closed = True
        self._stack.close()
        if self._is_over or not self._may_cancel:
            return
        try:
            self._services.store.cancel(self.job_id)
        except PromptmillError as error:
            log.warning(
                "could not cancel a job whose client is gone: %s",
                error,
                extra={"job": self.job_id},
            )

    def _find(self, tenant: str) -> None:
        try:
            self.watch.status = self._services.store.job(self.job_id, tenant).status
        except NotFound:
            message = (
                "this Idempotency-Key was answered before, and the answer is not kept any "
                "more; take a new key"
            )
            raise Conflict(message, code="job_deleted") from None

    @property
    def over(self) -> bool:
        """Every item has its result."""
        if self.watch.status is None:
            self.watch.status = self._services.store.job(self.job_id).status
        return self._is_over

    @property
    def _is_over(self) -> bool:
        return self.watch.status is not None and JobState(self.watch.status).terminal

    def wait(self) -> bool:
        """Wait for news of the job, half a second at most; whether there is any.

        Raises:
            ClientGone, TookTooLong, NoWorker, Unavailable: there is no use in waiting on.
        """
        news = self.watch.wait(POLL)
        if news and self._is_over:
            return True
        if self.watch.ended:
            raise self.watch.ended
        if self._hung_up():
            raise ClientGone("the client hung up")
        now = time.monotonic()
        if now > self._end:
            seconds = self._services.settings.request_timeout
            raise TookTooLong(
                f"no answer within {seconds:g} s; submit a job or a batch for what takes long"
            )
        if now > self._look_for_worker:
            self._refuse_without_worker(now)
        return news

    def _refuse_without_worker(self, now: float) -> None:
        patience = self._services.settings.worker_wait
        # Seldom enough for a thousand requests at once.
        self._look_for_worker = now + patience / 4
        if any(worker.model == self.model for worker in self._services.fleet.workers()):
            self._missing_since = None
            return
        self._missing_since = self._missing_since or now
        if now - self._missing_since >= patience:
            raise NoWorker(
                f"no worker serves {self.model}, and none came within {patience:g} s; start one, "
                "try again"
            )

    def rows(self) -> list[RowResult]:
        """The results, one for each prompt."""
        return self._services.store.results(self.job_id, self._count)


@contextmanager
def _as_one_request() -> Iterator[None]:
    """Errors name no items and no queue, of which the client of one request knows nothing."""
    try:
        yield
    except InvalidRequest as error:
        more = len(error.errors) - 1
        error.message = str(error.errors[0]["message"]) + (f" (and {more} more)" if more else "")
        raise
