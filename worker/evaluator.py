"""The evaluator: `celery -A worker.evaluator worker -Q evaluate`. Scores what jobs generated, and
compares jobs.

It has a Celery app of its own, so that scoring never delays a GPU, and its image needs no torch.
Its messages are rings: which evaluations wait, and how far they got, is in the store
(`common/store/evaluations.py`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from celery import Celery

from common.errors import Unavailable
from common.rings import EVALUATE, EVALUATE_QUEUE, RingSender
from common.settings import Settings
from common.store.connection import connect
from common.store.evaluation_work import EvaluationWork
from worker.comparing import Comparing
from worker.evaluating import Evaluating
from worker.local_turn import LocalTurn
from worker.ring_worker import RingWorker, ring_app

# While one sums up a large evaluation, the other serves those that wait.
TURNS = 2
CLOSE = 30.0  # seconds that what cannot be given back, a summary, may take at the end

log = logging.getLogger(__name__)


class Evaluator:
    """Does what waits for an evaluator, a part of it at a time, so that tenants take turns. Safe
    for threads; more than `TURNS` at once do nothing."""

    def __init__(self, settings: Settings):
        client = connect(settings.redis_url, replicas=settings.replicas)
        self.closing = threading.Event()
        evaluating = Evaluating(client, EvaluationWork(client), self.closing)
        comparing = Comparing(client, self.closing)
        # Each does a part of something and answers whether there was anything.
        self._sources: tuple[Callable[[], bool], ...] = (
            evaluating.evaluate_next,
            comparing.compare_next,
        )
        self._turns = threading.Semaphore(TURNS)

    def work(self) -> None:
        """Work until nothing waits, or the process ends."""
        if not self._turns.acquire(blocking=False):
            return
        try:
            while not self.closing.is_set() and self._work_once():
                pass
        except Unavailable as error:
            # Claims expire, and the next tick sends a ring.
            log.warning("evaluations wait: %s", error)
        finally:
            self._turns.release()

    def _work_once(self) -> bool:
        done = [source() for source in self._sources]
        return any(done)


class EvaluatorRingSender(RingSender):
    """The rings of this process's tick. One for evaluators begins a turn here, and is sent only
    while that runs."""

    def __init__(self, redis_url: str, turn: LocalTurn):
        super().__init__(redis_url)
        self._turn = turn

    def wake_evaluator(self) -> None:
        if not self._turn.begin():
            super().wake_evaluator()


settings = Settings.load()
evaluator = Evaluator(settings)
app: Celery = ring_app(
    RingWorker(
        name="promptmill.evaluator",
        task=EVALUATE,
        queue=EVALUATE_QUEUE,
        threads=TURNS,
        work=evaluator.work,
        closing=evaluator.closing,
        close=CLOSE,
        ring_sender=EvaluatorRingSender,
    ),
    settings,
)
