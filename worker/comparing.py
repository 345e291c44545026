"""Compares jobs on the items that all of them have: what the evaluator does of a comparison.

Everything follows from what is stored, so a comparison that is begun again comes out the same.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np

from common.errors import NotFound, Unavailable
from common.store.comparison_rows import CHANGED, FAILED, Array, RowBlock, pack_block
from common.store.comparisons import BLOCK, Claimed, Comparisons
from common.store.evaluations import Evaluation, Evaluations
from common.store.jobs import JobStore
from common.types import JsonObject
from evals.arrays import Floats
from evals.matching import Matching, match
from evals.metric import Metric
from evals.paired import difference, holm, verdicts
from evals.registry import METRICS
from worker.item_facts import ItemFacts, Lost, read_facts

QUANTILES = {"p10": 0.1, "p50": 0.5, "p90": 0.9, "p99": 0.99}

log = logging.getLogger(__name__)


def compare_next(store: JobStore, evaluations: Evaluations, comparisons: Comparisons) -> bool:
    """Compute the comparison whose turn it is. False where none waits."""
    claimed = comparisons.claim()
    if claimed is None:
        return False
    try:
        _Comparing(store, evaluations, comparisons, claimed).run()
    except (Lost, NotFound):
        # Another process has it, or one of its jobs was deleted, and the comparison with it.
        log.info("comparison dropped", extra={"comparison": claimed.id})
    except Unavailable:
        raise
    except Exception:  # counted as a failure, or evaluators would take it again and again
        log.exception("comparison failed", extra={"comparison": claimed.id})
        comparisons.fail(claimed)
    return True


class _Comparing:
    """One comparison."""

    def __init__(
        self,
        store: JobStore,
        evaluations: Evaluations,
        comparisons: Comparisons,
        claimed: Claimed,
    ):
        self._store = store
        self._evaluations = evaluations
        self._comparisons = comparisons
        self._claimed = claimed
        self._jobs = claimed.asked.jobs

    def run(self) -> None:
        """Compute and keep it.

        Raises:
            NotFound: a job is gone.
            Lost: another process goes on with it.
        """
        by_job = self._facts()
        facts = [by_job[job] for job in self._jobs]
        matching = match([each.ids for each in facts])
        made = [self._evaluations.get(each) for each in self._claimed.asked.evaluations]
        names, left_out = comparable(made)
        metrics, signs = self._metrics(names, matching)
        self._keep_rows(matching, facts, signs)
        result = {
            "matched": _matched(matching, facts),
            "metrics": metrics,
            "left_out": left_out,
            "jobs": [_figures(facts, matching, place) for place in range(len(facts))],
            "judged": list(signs),
        }
        if not self._comparisons.end(self._claimed, result):
            raise Lost

    def _hold(self) -> None:
        if not self._comparisons.hold(self._claimed):
            raise Lost

    def _facts(self) -> dict[str, ItemFacts]:
        return {
            job: read_facts(self._store, self._store.job(job), self._hold)
            for job in dict.fromkeys(self._jobs)
        }

    def _metrics(
        self, names: Sequence[str], matching: Matching
    ) -> tuple[list[JsonObject], dict[str, Array]]:
        """What is told of each metric, and the verdicts of those with a better direction."""
        asked = self._claimed.asked.evaluations
        numbers = {each: self._evaluations.numbers(each) for each in dict.fromkeys(asked)}
        found: list[JsonObject] = []
        signs: dict[str, Array] = {}
        for name in names:
            metric = METRICS[name]
            columns = enumerate(asked)
            each = [numbers[one][name][matching.rows[:, place]] for place, one in columns]
            found.append(self._metric(metric, each, matching.order))
            if metric.better:
                pairs = [verdicts(metric, each[0], other) for other in each[1:]]
                signs[name] = np.stack(pairs, axis=1)
        _correct(found)
        return found, signs

    def _metric(self, metric: Metric, numbers: Sequence[Floats], order: Array) -> JsonObject:
        """Of rows that have a score in all jobs."""
        told = ~np.any([np.isnan(each).any(axis=1) for each in numbers], axis=0)
        order = order[told[order]]
        each = [job[order] for job in numbers]
        jobs: list[JsonObject] = [{"value": _value(metric, each[0]), "difference": None}]
        for name, job in zip(self._jobs[1:], each[1:], strict=True):
            self._hold()
            apart = asdict(difference(metric, each[0], job, [self._jobs[0], name]))
            apart.pop("n")
            jobs.append({"value": _value(metric, job), "difference": apart})
        return {"metric": metric.name, "better": metric.better, "n": len(order), "jobs": jobs}

    def _keep_rows(
        self, matching: Matching, facts: Sequence[ItemFacts], signs: Mapping[str, Array]
    ) -> None:
        rows, flags = matching.rows, _flags(matching, facts)
        shape = (len(rows), 0, len(facts) - 1)
        judged = np.stack(list(signs.values()), axis=1) if signs else np.zeros(shape, np.int8)
        numbers = rows[:, 0] // BLOCK
        for number in np.unique(numbers).tolist():
            part = slice(*np.searchsorted(numbers, (number, number + 1)).tolist())
            block = pack_block(RowBlock(rows[part], flags[part], judged[part]))
            if not self._comparisons.keep_rows(self._claimed, {number: block}):
                raise Lost


def comparable(evaluations: Sequence[Evaluation]) -> tuple[list[str], list[JsonObject]]:
    """The metrics that all of these have, made in the same way, in the baseline's order; and those
    that are left out."""
    every = dict.fromkeys(name for each in evaluations for name in each.summary)
    names: list[str] = []
    left_out: list[JsonObject] = []
    for name in (name for name in every if name in METRICS):
        if not all(name in each.summary for each in evaluations):
            left_out.append({"metric": name, "reason": "not_in_all"})
        elif len({_convention(each.signatures.get(name, "")) for each in evaluations}) > 1:
            left_out.append({"metric": name, "reason": "signatures_differ"})
        else:
            names.append(name)
    return names, left_out


def _convention(signature: str) -> str:
    """A signature without the number of references, which may differ by the items that failed."""
    return "|".join(part for part in signature.split("|") if not part.startswith("nrefs:"))


def _value(metric: Metric, numbers: Floats) -> float | None:
    if len(numbers) == 0:
        return None
    found = float(metric.total(numbers.sum(axis=0), float(len(numbers))))
    return found if np.isfinite(found) else None


def _correct(metrics: Sequence[JsonObject]) -> None:
    """Add `p_holm` to each difference: corrected for how many there are."""
    apart = {
        f"{place} {each['metric']}": job["difference"]
        for each in metrics
        for place, job in enumerate(each["jobs"])
        if job["difference"]
    }
    corrected = holm({name: found["p"] for name, found in apart.items()})
    for name, found in apart.items():
        found["p_holm"] = corrected[name]


def _flags(matching: Matching, facts: Sequence[ItemFacts]) -> Array:
    each = [facts[job] for job in range(len(facts))]
    places = matching.rows.T
    done = [one.succeeded[place] for one, place in zip(each, places, strict=True)]
    texts = [one.texts[place] for one, place in zip(each, places, strict=True)]
    changed = np.any(
        [
            done[0] & there & (texts[0] != text)
            for there, text in zip(done[1:], texts[1:], strict=True)
        ],
        axis=0,
    )
    return (CHANGED * changed + FAILED * ~np.all(done, axis=0)).astype(np.uint8)


def _matched(matching: Matching, facts: Sequence[ItemFacts]) -> JsonObject:
    rows = matching.rows
    done = [one.succeeded[rows[:, place]] for place, one in enumerate(facts)]
    flags = _flags(matching, facts)
    return {
        "by": matching.by,
        "reason": matching.reason,
        "rows": len(rows),
        "succeeded": int(np.all(done, axis=0).sum()),
        "changed": int((flags & CHANGED > 0).sum()),
        "unmatched": [len(one.ids) - len(rows) for one in facts],
    }


def _figures(facts: Sequence[ItemFacts], matching: Matching, job: int) -> JsonObject:
    """How long the rows ran that all jobs have done, how long they are, and why they ended."""
    rows = matching.rows
    done = np.all([one.succeeded[rows[:, place]] for place, one in enumerate(facts)], axis=0)
    places = rows[done, job]
    return {
        "run_s": _spread(facts[job].run_s[places]),
        "tokens": _spread(facts[job].tokens[places]),
        "finish_reasons": facts[job].finish_reasons(places),
    }


def _spread(values: Array) -> JsonObject | None:
    """Mean and quantiles; None without a value."""
    told = values[~np.isnan(values)].astype(np.float64)
    if len(told) == 0:
        return None
    found = np.quantile(told, list(QUANTILES.values())).tolist()
    return {"mean": float(told.mean()), **dict(zip(QUANTILES, found, strict=True))}
