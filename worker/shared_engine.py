"""One engine behind several: each model that a process serves has an `Engine` of its own, with its
requests and its results, and all of them compute on one.

Knows neither the store nor Celery. What a request's slots mean for the other models is decided in
`shared_slots`.
"""

from __future__ import annotations

import logging
import math
import threading
from collections import Counter, deque
from dataclasses import dataclass

from common.generation import Finished, Output, Request
from worker.adapters import Adapter
from worker.engine.protocol import Engine
from worker.engine.scheduling.errors import told_error
from worker.engine.scheduling.finished_queue import FinishedQueue
from worker.engine.scheduling.mailbox import Reason
from worker.shared_slots import SharedSlots

log = logging.getLogger(__name__)

LOOK_AGAIN = 1.0  # seconds that the sorter waits for the engine before it looks whether to stop


@dataclass(eq=False)
class _Open:
    """A request that was submitted and has not ended."""

    request: Request
    owner: EngineOfModel
    wish: Reason | None = None  # why it is to end


class SharedEngine:
    """Hands each finished request to the model whose it is. Request ids differ between models.

    Suspects, whose worker died, run beside requests of their own model only: the others would die
    with them, and be charged for it. So a suspect enters the engine when no other model has
    requests there, and what is submitted after it enters behind it.
    """

    def __init__(self, engine: Engine, slots: SharedSlots):
        self.engine = engine
        self._slots = slots
        self._lock = threading.Lock()  # guards the next four
        self._open: dict[str, _Open] = {}  # by request id
        self._line: deque[_Open] = deque()  # those that have not entered the engine
        self._inside: Counter[str] = Counter()  # requests in the engine, by model
        self._suspects: Counter[str] = Counter()  # those of them that are suspects
        self._starting = threading.Lock()  # guards the next two
        self._started: set[str] = set()  # the models that were started and not stopped
        self._stopped = False
        self._lost = False  # results are handed over no more
        self._sorter = threading.Thread(target=self._sort, name="sorter", daemon=True)

    def start(self, model: str) -> None:
        """Start the engine, for the first model that asks."""
        with self._starting:
            if not self._started:
                self.engine.start()
                self._sorter.start()
            self._started.add(model)

    def stop(self, model: str) -> None:
        """This model needs the engine no more; it stops with the last of them."""
        with self._starting:
            self._started.discard(model)
            if self._started or self._stopped:
                return
            self._stopped = True
            if self._sorter.is_alive():
                self.engine.poke()
                self._sorter.join()
            self.engine.stop()

    def step_age(self) -> float:
        return math.inf if self._lost else self.engine.step_age()

    def submit(self, owner: EngineOfModel, request: Request) -> None:
        self._slots.take(owner.model, request.params.n)
        with self._lock:
            self._open[request.id] = submitted = _Open(request, owner)
            self._line.append(submitted)
        self._let_in()

    def cancel(self, request_id: str, reason: Reason) -> None:
        with self._lock:
            if not (found := self._open.get(request_id)):
                return
            found.wish = reason
            if waits := found in self._line:
                self._line.remove(found)
        if waits:
            self._end([_cancelled(found.request, reason)])
            self._let_in()
        else:
            self.engine.cancel(request_id, reason)

    def _let_in(self) -> None:
        """Submit the requests at the head of the line that may enter the engine. One that it does
        not take fails alone, whosever thread this is."""
        while entering := self._next():
            request = entering.request
            try:
                self.engine.submit(request)
            except Exception as error:
                self._leave([_failed(request, told_error(request.id, error))])
            # The engine did not know it yet when it was cancelled: its grammar was compiled.
            if entering.wish:
                self.engine.cancel(request.id, entering.wish)

    def _next(self) -> _Open | None:
        """The head of the line, if it may enter: it counts as inside from now on."""
        with self._lock:
            if not self._line or not self._may_enter(self._line[0]):
                return None
            entering = self._line.popleft()
            self._count(entering, 1)
            return entering

    def _may_enter(self, entering: _Open) -> bool:
        running = self._inside if entering.request.suspect else self._suspects
        return not running.keys() - {entering.owner.model}

    def _count(self, entering: _Open, by: int) -> None:
        model = entering.owner.model
        for counter in [self._inside, *([self._suspects] if entering.request.suspect else [])]:
            counter[model] += by
            if not counter[model]:
                del counter[model]

    def _sort(self) -> None:
        try:
            while not self._stopped:
                if finished := self.engine.collect(LOOK_AGAIN):
                    self._leave(finished)
                    self._let_in()
        except Exception:
            log.critical("results cannot be handed over: this process must end", exc_info=True)
            # The worker sees the infinite step age and ends the process.
            self._lost = True

    def _leave(self, finished: list[Finished]) -> None:
        """These requests have left the engine."""
        with self._lock:
            for each in finished:
                self._count(self._open[each.id], -1)
        self._end(finished)

    def _end(self, finished: list[Finished]) -> None:
        """Free the slots of these requests, and hand each to its model."""
        counts: Counter[str] = Counter()
        with self._lock:
            ended = [self._open.pop(each.id) for each in finished]
        for each in ended:
            counts[each.owner.model] += each.request.params.n
        waiting = self._slots.free(counts)
        for each, result in zip(ended, finished, strict=True):
            each.owner.deliver(result)
        # The others look for work by themselves, with their results.
        self._slots.wake(name for name in waiting if name not in counts)


class EngineOfModel:
    """The shared engine as one model has it; implements `Engine`. `start` and `stop` count the
    models; how long steps took is said to the model without an adapter only."""

    def __init__(self, shared: SharedEngine, model: str, adapter: Adapter | None):
        self.model = model
        self._shared = shared
        self._adapter = adapter
        engine = shared.engine
        self.slots, self.context = engine.slots, engine.context
        self.kernels, self.batch_invariant = engine.kernels, engine.batch_invariant
        self.honours = engine.honours
        self.room, self.checkpoint, self.goes_on = engine.room, engine.checkpoint, engine.goes_on
        self.step_age = shared.step_age
        self._finished = FinishedQueue()
        self.collect, self.poke = self._finished.collect, self._finished.poke

    def start(self) -> None:
        self._shared.start(self.model)

    def stop(self) -> None:
        self._shared.stop(self.model)

    def submit(self, request: Request) -> None:
        if self._adapter:
            request.adapter = self._adapter.name
            if self._adapter.has_changed():
                self.deliver(_refused(request, self._adapter))
                return
        self._shared.submit(self, request)

    def cancel(self, request_id: str, reason: Reason) -> None:
        self._shared.cancel(request_id, reason)

    def deliver(self, finished: Finished) -> None:
        """A request of this model has ended."""
        self._finished.put([finished])

    def step_times(self) -> list[float]:
        return [] if self._adapter else self._shared.engine.step_times()


def _cancelled(request: Request, reason: Reason) -> Finished:
    """The end of a request that never entered the engine: with the tokens it came with."""
    tokens = request.resume or [[] for _ in range(request.params.n)]
    outputs = [Output("", each, reason) for each in tokens]
    return Finished(request.id, outputs, len(request.prompt_ids))


def _failed(request: Request, error: tuple[str, str]) -> Finished:
    return Finished(request.id, prompt_tokens=len(request.prompt_ids), error=error)


def _refused(request: Request, adapter: Adapter) -> Finished:
    message = (
        f"the files of adapter {adapter.name} have changed since this worker started; start the "
        "worker again, and submit for the adapter as it is then"
    )
    return _failed(request, ("adapter_changed", message))
