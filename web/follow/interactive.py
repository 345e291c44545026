"""One interactive request: a job that somebody waits for on an open connection.

It ends with the answer, or when it takes too long, nobody serves the model, the server is about to
end, or the client hangs up; whatever is left of the job is then cancelled, so that its slots are
free for others.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from common.errors import Conflict, InvalidRequest, NotFound, PromptmillError, Unavailable
from common.store.accounts import Grant
from common.store.jobs import new_job_id
from common.types import JobState
from web.intake.drafts import from_items
from web.intake.enqueue import enqueue_job
from web.openai.requests import ChatRequest, CompletionRequest, default_max_tokens
from web.schemas.requests import JobOptions
from web.services.caps import open_chat
from web.services.services import Services

POLL = 0.5  # seconds between two looks at whether the client is still there

log = logging.getLogger(__name__)

HungUp = Callable[[], bool]


class ClientGone(PromptmillError):
    """Nobody will read the answer."""

    status = 499
    code = "client_gone"


class TookTooLong(PromptmillError):
    status = 504
    code = "timeout"


class NoWorker(Unavailable):
    code = "no_worker"


class Live:
    """Wanted until `close`. `job_id` is the job's, or with an idempotency key an earlier one's;
    `prompt_tokens` are those of all prompts, as far as they could be counted."""

    def __init__(
        self,
        services: Services,
        grant: Grant,
        asked: ChatRequest | CompletionRequest,
        *,
        hung_up: HungUp,
        idempotency_key: str | None = None,
    ):
        """Submits. Raises what `enqueue_job` does."""
        self.began = time.monotonic()
        self._services = services
        self._hung_up = hung_up
        self._closed = False
        self.model = services.cards.served_name(asked.model)
        self._items = asked.items()
        if asked.stream:
            self._items = [item | {"stream": True} for item in self._items]
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
                made = enqueue_job(
                    services,
                    grant.tenant,
                    JobOptions.model_validate({"model": asked.model}),
                    [replace(draft, names=asked.names) for draft in from_items(self._items)],
                    job_id=job_id,
                    interactive=True,
                    idempotency_key=idempotency_key,
                    default_max_tokens=default_max_tokens(asked.ask.endpoint),
                )
            self.job_id, self.prompt_tokens = made.job_id, made.prompt_tokens
            if made.replayed:
                self.watch = stack.enter_context(open_chat(services, grant, made.job_id))
                self._find(grant.tenant)
            self._may_cancel = not made.replayed  # an earlier request may still wait for it
            self._stack = stack.pop_all()

    def __enter__(self) -> Live:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nobody waits any more; what is not over is cancelled. A second call does nothing."""
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
                "could not cancel what nobody waits for: %s", error, extra={"job": self.job_id}
            )

    def _find(self, tenant: str) -> None:
        try:
            self.watch.status = self._services.store.job(self.job_id, tenant)["status"]
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
            self.watch.status = self._services.store.job(self.job_id)["status"]
        return self._is_over

    @property
    def _is_over(self) -> bool:
        return self.watch.status is not None and JobState(self.watch.status).terminal

    def wait(self) -> bool:
        """Until there is news, half a second at most; whether there is.

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
        self._look_for_worker = now + patience / 4  # seldom enough for a thousand requests at once
        if any(worker["model"] == self.model for worker in self._services.fleet.workers()):
            self._missing_since = None
            return
        self._missing_since = self._missing_since or now
        if now - self._missing_since >= patience:
            raise NoWorker(
                f"no worker serves {self.model}, and none came within {patience:g} s; start one, "
                "try again"
            )

    def rows(self) -> list[dict[str, Any]]:
        """The results, one for each prompt."""
        return self._services.store.results(self.job_id, len(self._items))


@contextmanager
def _as_one_request() -> Iterator[None]:
    """What is wrong is said of the request: its client knows of no items, and of no queue."""
    try:
        yield
    except InvalidRequest as error:
        more = len(error.errors) - 1
        error.message = str(error.errors[0]["message"]) + (f" (and {more} more)" if more else "")
        raise
