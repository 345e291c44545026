"""Evaluates jobs: claims an evaluation, scores items a chunk at a time, sums the scores up.

The summary is made of what is stored, by whoever claims the evaluation last, so it does not depend
on which evaluators died before. Knows neither Celery nor HTTP.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from functools import partial
from typing import NoReturn

import redis

from common.errors import NotFound, PromptmillError, Unavailable
from common.store.evaluation_work import Claimed, Ended, EvaluationWork
from common.store.evaluations import Evaluations
from common.store.jobs import JobStore
from common.store.records import Unreadable
from common.store.score_chunk import ScoreChunk, pack_scores
from common.types import JsonObject
from evals.bleu_words import choose_tokenizer
from evals.metric import Metric
from evals.registry import Choice, UnknownMetric, choose
from evals.scorer import score_items
from evals.summary import Marks, Tally
from worker.claim_keeper import ClaimKeeper, Lost
from worker.gate_keeper import GateKeeper
from worker.judged_items import JudgedItems

SLICE = 3.0  # seconds until an evaluation is given back, for others that wait
PAUSE = 5.0  # seconds until one is tried again for which Redis was full

log = logging.getLogger(__name__)


class Evaluating:
    """One per process; safe for threads. `closing` is set when the process is to end."""

    def __init__(self, client: redis.Redis, work: EvaluationWork, closing: threading.Event):
        self._store = JobStore(client)
        self._evaluations = Evaluations(client)
        self._work = work
        self._gates = GateKeeper(self._store, self._evaluations)
        self._closing = closing
        self._summing = threading.Lock()  # a summary takes memory for all items of a job

    def evaluate_next(self) -> bool:
        """Go on for a while with the evaluation whose turn it is. False where none waits.

        Raises:
            Unavailable: Redis is away or full; the evaluation waits for its next claim.
        """
        try:
            claimed = self._work.claim()
        except Unreadable as error:  # claimed as often as others whose evaluators die, it fails
            log.warning("%s: %s", error, error.__cause__)
            return True
        if claimed is None:
            return False
        about = {"evaluation": claimed.id, "job": claimed.job}
        try:
            with ClaimKeeper(partial(self._work.hold, claimed), self._work.lease) as keeper:
                self._go_on(claimed, keeper)
        except (Lost, NotFound):
            # Its job was deleted, or another evaluator has it: this one was frozen for long.
            log.info("evaluation dropped", extra=about)
        except Unavailable:
            with suppress(Unavailable):
                self._work.give_back(claimed, PAUSE)
            raise
        except PromptmillError as error:
            log.warning("evaluation failed: %s", error, extra=about)
            self._fail(claimed, error.code, error.message)
        except Exception as bug:  # else evaluators would come back to it again and again
            log.exception("evaluation failed", extra=about)
            self._fail(claimed, "internal_error", f"scoring failed ({type(bug).__name__})")
        return True

    def _go_on(self, claimed: Claimed, keeper: ClaimKeeper) -> None:
        choice = _chosen(claimed)
        items = JudgedItems(self._store, self._evaluations, claimed, self._store.job(claimed.job))
        tokenizer = claimed.tokenizer or self._choose_tokenizer(claimed, choice, items)
        first, until = claimed.done, time.monotonic() + SLICE
        while first < claimed.total:
            first = self._score_chunk(claimed, items, first, choice, tokenizer)
            keeper.got_further()
            if first < claimed.total and (self._closing.is_set() or time.monotonic() > until):
                self._work.give_back(claimed)
                return
        with self._summing:
            self._sum_up(claimed, choice.metrics, tokenizer, keeper)

    def _choose_tokenizer(self, claimed: Claimed, choice: Choice, items: JudgedItems) -> str:
        """BLEU's: the same for all items, so it is noted for the evaluator that goes on."""
        if choice.tokenizer or not any(metric.name == "bleu" for metric in choice.metrics):
            return choice.tokenizer or choose_tokenizer(())
        found = choose_tokenizer(items.references())
        if not self._work.hold(claimed, tokenizer=found):
            raise Lost
        return found

    def _score_chunk(
        self, claimed: Claimed, items: JudgedItems, first: int, choice: Choice, tokenizer: str
    ) -> int:
        """Score and store the items from `first` on; answers where the next chunk begins."""
        part = items.chunk(first)
        scores = score_items(part, choice.metrics, tokenizer)
        marks = Marks.of(part)
        chunk = ScoreChunk(scores.numbers, scores.values, marks.failed, marks.references)
        end = first + len(part)
        if not self._work.keep(claimed, first, pack_scores(chunk), end):
            raise Lost
        return end

    def _sum_up(
        self,
        claimed: Claimed,
        metrics: tuple[Metric, ...],
        tokenizer: str,
        keeper: ClaimKeeper,
    ) -> None:
        tally = Tally(metrics, claimed.total)
        for start, chunk in self._evaluations.chunks(claimed.id):
            tally.put(start, Marks(chunk.failed, chunk.references), chunk.numbers, chunk.scores)
        summary: JsonObject = {}
        signatures: dict[str, str] = {}
        for metric in metrics:
            summary[metric.name] = tally.summary(metric.name, claimed.id)
            if signature := tally.signature(metric.name, tokenizer):
                signatures[metric.name] = signature
            keeper.got_further()
        gate = self._gates.judge(claimed, summary, signatures, tally.numbers, keeper)
        self._end(claimed, Ended(summary, signatures, gate))

    def _fail(self, claimed: Claimed, code: str, message: str) -> None:
        error = {"code": code, "message": message}
        with suppress(Lost):
            self._end(claimed, Ended({}, {}, error=error))  # type: ignore[arg-type]

    def _end(self, claimed: Claimed, ended: Ended) -> None:
        # Its event is delivered after the next tick, within a second.
        held, _ = self._work.end(claimed, ended)
        if not held:
            raise Lost


def _chosen(claimed: Claimed) -> Choice:
    try:
        return choose(claimed.asked.metrics)
    except UnknownMetric as error:
        _refuse(error)


def _refuse(error: UnknownMetric) -> NoReturn:
    raise PromptmillError(
        f"this evaluator cannot compute it: {error}; update it, or evaluate without that metric",
        code="unknown_metric",
    ) from error
