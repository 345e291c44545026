"""Judges the gate of an evaluation: each rule, and all of them together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict

from common.errors import NotFound
from common.store.custom_ids import Digests, job_digests
from common.store.evaluation_work import Claimed
from common.store.evaluations import Evaluation, Evaluations
from common.store.jobs import JobStore
from common.types import JsonObject
from evals.arrays import Floats
from evals.gates import Rule, judge, overall
from evals.matching import match
from evals.paired import Difference, difference
from evals.registry import METRICS
from worker.claim_keeper import ClaimKeeper

Numbers = Callable[[str], Floats]  # by metric: items by columns


class GateKeeper:
    """Judges gates; safe for threads."""

    def __init__(self, store: JobStore, evaluations: Evaluations):
        self._store = store
        self._evaluations = evaluations

    def judge(
        self,
        claimed: Claimed,
        summary: JsonObject,
        signatures: Mapping[str, str],
        numbers: Numbers,
        keeper: ClaimKeeper,
    ) -> JsonObject | None:
        """`numbers` are the evaluation's. None without rules."""
        verdicts = []
        for fields in claimed.asked.gate:
            rule = Rule(**fields)
            metric = METRICS.get(rule.metric)
            drop = None
            if rule.baseline and rule.metric in summary:
                drop = self._drop(claimed, rule, signatures.get(rule.metric), numbers)
            keeper.got_further()
            verdicts.append(judge(rule, metric, summary.get(rule.metric), drop))
        if not verdicts:
            return None
        return {"status": overall(verdicts), "rules": [asdict(each) for each in verdicts]}

    def _drop(
        self, claimed: Claimed, rule: Rule, signature: str | None, numbers: Numbers
    ) -> Difference | None:
        """How the job differs from the baseline; None where that is gone, or has no scores that
        were made in the same way."""
        assert rule.baseline
        jobs = (rule.baseline, claimed.job)
        try:
            baseline = self._scored(claimed, rule.baseline, rule.metric, signature)
            if baseline is None:
                return None
            theirs = self._evaluations.numbers(baseline.id, {rule.metric})[rule.metric]
            matching = match([self._custom_ids(job) for job in jobs])
        except (NotFound, KeyError):
            return None
        rows = matching.rows[matching.order]
        before, after = theirs[rows[:, 0]], numbers(rule.metric)[rows[:, 1]]
        return difference(METRICS[rule.metric], before, after, jobs)

    def _scored(
        self, claimed: Claimed, job: str, metric: str, signature: str | None
    ) -> Evaluation | None:
        """The newest evaluation of a job of the same tenant that has such scores."""
        return next(
            (
                each
                for each in self._evaluations.of_job(job)
                if each.status == "done"
                and each.tenant == claimed.tenant
                and metric in each.summary
                and each.signatures.get(metric) == signature
                and each.id != claimed.id
            ),
            None,
        )

    def _custom_ids(self, job: str) -> Digests:
        return job_digests(self._store, self._store.job(job), go_on=lambda: None)
