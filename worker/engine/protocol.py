"""What a worker asks of an engine, and the thread that each engine runs on.

An engine turns token ids into text on a thread of its own: its holder submits requests and collects
the finished ones. It knows no Redis, no Celery and no HTTP.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from common.generation import Finished, Request
from common.params import CELLS, SamplingParams, not_honoured
from worker.engine.scheduling.mailbox import Mailbox, Reason

if TYPE_CHECKING:
    from worker.engine.scheduling.open_requests import OpenRequests

TIMES_KEPT = 4096  # steps


class Engine(Protocol):
    """All methods may be called from any thread."""

    slots: int  # sequences at once
    context: int  # tokens a sequence may have, prompt included
    kernels: str  # what computes its steps, as model cards say it
    batch_invariant: bool  # whether a row gets the same bits whatever is computed beside it
    honours: frozenset[str]  # the decoding parameters that it applies, by name

    def start(self) -> None:
        """Compute a first step in the caller's thread, then start the engine's own thread.

        Raises:
            Exception: the model cannot run here.
        """
        ...

    def submit(self, request: Request) -> None:
        """Queue a request. It is collected exactly once; if it can never fit, as an error. A new
        grammar is compiled first, in the caller's thread."""
        ...

    def cancel(self, request_id: str, reason: Reason) -> None:
        """End a request at the next step; it is collected with its partial text. Unknown ids are
        ignored."""
        ...

    def room(self) -> int:
        """Slots neither taken nor promised to a submitted request; never negative."""
        ...

    def collect(self, timeout: float) -> list[Finished]:
        """The requests that finished since the last call. If there are none, waits up to `timeout`
        seconds for one, or for `poke`."""
        ...

    def poke(self) -> None:
        """Make a waiting `collect` return now."""
        ...

    def checkpoint(self, request_ids: Iterable[str], /) -> dict[str, list[list[int]]]:
        """The tokens that those of these requests which are unfinished have generated so far, a
        list for each continuation; `Request.resume` takes them back."""
        ...

    def goes_on(self, params: SamplingParams, /) -> bool:
        """Whether a request with these goes on from a checkpoint as if it had never stopped."""
        ...

    def step_age(self) -> float:
        """Seconds since the current step began; 0 between steps. The worker ends its process when
        this grows past its limit."""
        ...

    def step_times(self) -> list[float]:
        """Seconds that each step since the last call took, at most the newest `TIMES_KEPT`; empty
        for engines that do not work in steps."""
        ...

    def stop(self) -> None:
        """End the thread. Requests that were not collected are lost."""
        ...


class EngineThread:
    """The thread of an engine with its mailbox and its clock; implements `Engine`.

    A subclass sets `context` and implements `_warm_up` and `_run`. For `checkpoint` and
    `_take_mail` it also sets `_requests` and implements `_accept`. One that lacks a decoding
    parameter says so with `honours`: jobs that ask for it are then refused at their submit.
    """

    context: int
    kernels = ""
    batch_invariant = False
    honours = frozenset(CELLS)
    _requests: OpenRequests

    def __init__(self, name: str, *, slots: int):
        self.slots = slots
        self._mail = Mailbox(slots)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._step_began: float | None = None
        self._times: deque[float] = deque(maxlen=TIMES_KEPT)  # seconds

        self.cancel = self._mail.cancel
        self.room = self._mail.room
        self.collect = self._mail.finished.collect
        self.poke = self._mail.finished.poke

    def start(self) -> None:
        self._warm_up()
        self._thread.start()

    def submit(self, request: Request) -> None:
        self._prepare(request)
        self._mail.submit(request)

    def stop(self) -> None:
        self._mail.close()
        if self._thread.is_alive():
            self._thread.join()

    def checkpoint(self, request_ids: Iterable[str], /) -> dict[str, list[list[int]]]:
        return self._requests.checkpoint(request_ids)

    def goes_on(self, _params: SamplingParams, /) -> bool:
        return True

    def step_age(self) -> float:
        began = self._step_began
        return 0.0 if began is None else time.monotonic() - began

    def step_times(self) -> list[float]:
        return [self._times.popleft() for _ in range(len(self._times))]

    def _warm_up(self) -> None:
        """Compute a first step.

        Raises:
            Exception: the model cannot run here.
        """
        raise NotImplementedError

    def _run(self) -> None:
        """The thread's work: take mail and compute, until `_take_mail` returns False."""
        raise NotImplementedError

    def _prepare(self, request: Request) -> None:
        """What a request needs before the engine's thread has it; in the submitter's thread."""
        self._requests.grammars.prepare(request)

    def _accept(self, request: Request) -> None:
        """Open a new request, or refuse it."""
        raise NotImplementedError

    def _take_mail(self, timeout: float | None) -> bool:
        """Accept new requests and end those that were cancelled. Waits up to `timeout` seconds for
        some (None: without limit); False once the engine is stopped."""
        mail = self._mail.take(timeout)
        if mail is None:
            return False
        requests, cancelled = mail
        for request in requests:
            self._requests.guarded(request, self._accept_honoured)
        for request_id, reason in cancelled.items():
            self._requests.end(request_id, reason)
        return True

    def _accept_honoured(self, request: Request) -> None:
        """Accept a request, unless it asks for what the engine lacks: one that reads no model cards
        may have sent it."""
        if names := not_honoured(request.params, self.honours):
            error = "unsupported", f"the engine has no {', '.join(names)}"
            self._requests.refuse(request, error)
        else:
            self._accept(request)

    def _begin_step(self) -> None:
        self._step_began = time.monotonic()

    def _end_step(self) -> None:
        """The step that `_begin_step` began was computed: keep its time."""
        if self._step_began is not None:
            self._times.append(time.monotonic() - self._step_began)
        self._step_began = None
