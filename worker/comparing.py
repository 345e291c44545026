"""Compares jobs: claims a comparison, computes it, keeps what came out.

Everything follows from what is stored, so a comparison that is begun again comes out the same.
Knows neither Celery nor HTTP.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial

import redis

from common.errors import NotFound, Unavailable
from common.store.comparisons import LEASE, Asked, Claimed, Comparisons
from common.store.evaluations import Evaluations
from common.store.jobs import JobStore
from worker.claim_keeper import ClaimKeeper, Lost
from worker.compared_references import unlike_references
from worker.compared_rows import Rows
from worker.compared_scores import Scores, comparable, compare_scores
from worker.item_facts import ItemFacts, read_facts

log = logging.getLogger(__name__)


class Comparing:
    """One per process; safe for threads. `closing` is set when the process is to end."""

    def __init__(self, client: redis.Redis, closing: threading.Event):
        self._store = JobStore(client)
        self._evaluations = Evaluations(client)
        self._comparisons = Comparisons(client)
        self._closing = closing

    def compare_next(self) -> bool:
        """Compute the comparison whose turn it is. False where none waits.

        Raises:
            Unavailable: Redis is away or full; the comparison waits for its next claim.
        """
        claimed = self._comparisons.claim()
        if claimed is None:
            return False
        about = {"comparison": claimed.id}
        try:
            with ClaimKeeper(partial(self._comparisons.hold, claimed), LEASE) as keeper:
                self._compare(claimed, keeper)
        except (Lost, NotFound):
            # One of its jobs was deleted, another evaluator has it, or this one is about to end.
            log.info("comparison dropped", extra=about)
        except Unavailable:
            raise
        except Exception:  # else evaluators would come back to it again and again
            log.exception("comparison failed", extra=about)
            self._comparisons.fail(claimed)
        return True

    def _compare(self, claimed: Claimed, keeper: ClaimKeeper) -> None:
        def go_on() -> None:
            """Called between two steps."""
            keeper.got_further()
            if self._closing.is_set():
                self._comparisons.give_back(claimed)
                raise Lost

        asked = claimed.asked
        facts = self._facts(asked, go_on)
        rows = Rows([facts[job] for job in asked.jobs])
        evaluations = [self._evaluations.get(each) for each in asked.evaluations]
        names, left_out = comparable(evaluations)
        scores = self._scores(asked, names, rows, go_on)
        unlike = unlike_references(
            self._store, self._evaluations, evaluations, names, rows.matching.rows, go_on
        )
        blocks = 0
        for number, block in rows.blocks(scores.verdicts):
            if not self._comparisons.keep_rows(claimed, {number: block}):
                raise Lost
            blocks += 1
        result = {
            "matched": rows.matched() | {"unlike_references": unlike},
            "metrics": scores.metrics,
            "left_out": left_out,
            "jobs": rows.figures(),
            "judged": list(scores.verdicts),
        }
        if not self._comparisons.end(claimed, result, blocks):
            raise Lost

    def _facts(self, asked: Asked, go_on: Callable[[], None]) -> dict[str, ItemFacts]:
        return {
            job: read_facts(self._store, self._store.job(job), go_on)
            for job in dict.fromkeys(asked.jobs)
        }

    def _scores(
        self, asked: Asked, names: list[str], rows: Rows, go_on: Callable[[], None]
    ) -> Scores:
        read = {each: self._evaluations.numbers(each) for each in dict.fromkeys(asked.evaluations)}
        numbers = [read[each] for each in asked.evaluations]
        return compare_scores(names, asked.jobs, numbers, rows.matching, go_on)
