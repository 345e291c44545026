"""What a judge found: the verdict on each pair of outputs, or the grade of each, and how often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from common.cooperate import Steps
from common.errors import Conflict
from common.store.job import Job
from common.stored_item import StoredItem
from evals.votes import Side, both_orders
from web.jobs.judge_agreement import agreement
from web.schemas.verdicts import (
    Better,
    VerdictList,
    VerdictPage,
    VerdictTotals,
    VerdictView,
)
from web.services.services import Services

SHOWN_AS: dict[str, Side] = {"A": "left", "B": "right", "tie": "tie"}
# Which job's output that is, in the first order and in the second.
FIRST: dict[Side, Better] = {"left": "a", "right": "b", "tie": "tie"}
SECOND: dict[Side, Better] = {"left": "b", "right": "a", "tie": "tie"}
ROWS_READ = 256  # at a time
Label = str | None  # None: the item was not judged, or not yet


def verdicts(services: Services, job_id: str, tenant: str, wanted: VerdictPage) -> VerdictList:
    """The verdicts after a row, and the totals of all; so far, while the judge runs.

    Raises:
        NotFound: no such job, or it is another tenant's.
        Conflict: it is no judge.
    """
    job = services.store.job(job_id, tenant)
    kind = job.input_from.judge if job.input_from else None
    if kind is None:
        message = f'job {job_id} is no judge; one is submitted with input_from and "judge"'
        raise Conflict(message, code="no_judge")
    labels = services.answers.of(job).look() if job.total else []
    each = 2 if kind == "pairs" else 1  # items of a row
    rows, first = len(labels) // each, wanted.after + 1
    last = min(first + wanted.limit, rows)
    data = _shown(services, job, labels, first, last) if first < rows else []
    people = None
    if wanted.study is not None:
        judged = _by_place(services, job, labels)
        people = agreement(services, job, wanted.study, tenant, judged)
    return VerdictList(
        judge="pairs" if kind == "pairs" else "scale",
        data=data,
        totals=pair_totals(labels) if kind == "pairs" else grade_totals(labels),
        agreement=people,
        has_more=last < rows,
        after=last - 1 if last < rows else None,
    )


def _shown(
    services: Services, job: Job, labels: Sequence[Label], first: int, last: int
) -> list[VerdictView]:
    each = 2 if job.input_from and job.input_from.judge == "pairs" else 1
    items = services.store.items(job.id, first * each, (last - first) * each)
    found = []
    for row, item in zip(range(first, last), items[::each], strict=False):
        view = VerdictView(row=row, custom_id=_custom_id(item, each), index=_index(item))
        if each == 1:
            view.grade = grade(labels[row])
        else:
            view.first, view.second, view.verdict = pair(labels[2 * row], labels[2 * row + 1])
        found.append(view)
    return found


def _by_place(
    services: Services, job: Job, labels: Sequence[Label]
) -> dict[tuple[int, ...], str | float]:
    """The verdict or grade of each row that has one, by where the row is in the sources."""
    found: dict[tuple[int, ...], str | float] = {}
    each, steps = (2 if job.input_from and job.input_from.judge == "pairs" else 1), Steps()
    for first in range(0, len(labels) // each, ROWS_READ):
        last = min(first + ROWS_READ, len(labels) // each)
        for view in _shown(services, job, labels, first, last):
            judged = view.grade if each == 1 else view.verdict
            if judged is not None:
                found[tuple(view.index.values())] = judged
        steps.step()
    return found


def pair(first: Label, second: Label) -> tuple[Better | None, Better | None, Better | None]:
    """What a judge answered on two outputs in both orders, as the job whose output was found
    better, and the verdict."""
    one, other = SHOWN_AS.get(first or ""), SHOWN_AS.get(second or "")
    verdict = FIRST[both_orders(one, other)] if one and other else None
    return FIRST[one] if one else None, SECOND[other] if other else None, verdict


def pair_totals(labels: Sequence[Label]) -> VerdictTotals:
    """Of the labels of all items, two for each row."""
    found = Counter(zip(labels[::2], labels[1::2], strict=True))
    counts: Counter[Better] = Counter()
    contradictions = 0
    for (first, second), number in found.items():
        one, other, verdict = pair(first, second)
        if verdict is not None:
            counts[verdict] += number
            contradictions += number if one != other else 0
    return VerdictTotals(
        rows=len(labels) // 2,
        judged=counts.total(),
        wins_a=counts["a"],
        ties=counts["tie"],
        wins_b=counts["b"],
        contradictions=contradictions,
    )


def grade(label: Label) -> float | None:
    return None if label is None else float(label)


def grade_totals(labels: Sequence[Label]) -> VerdictTotals:
    """Of the labels of all items, one for each row."""
    counts = Counter(label for label in labels if label is not None)
    total = sum(float(label) * number for label, number in counts.items())
    judged = counts.total()
    return VerdictTotals(
        rows=len(labels),
        judged=judged,
        mean=total / judged if judged else None,
        grades=dict(sorted(counts.items(), key=lambda pair: float(pair[0]))),
    )


def _custom_id(item: StoredItem, each: int) -> str | None:
    """The row's: a pair's is that with the order behind it."""
    found = item.get("custom_id")
    return found.rpartition("#")[0] if found is not None and each == 2 else found


def _index(item: StoredItem) -> dict[str, int]:
    where = item.get("metadata", {})
    names = {"index": "a", "index_a": "a", "index_b": "b"}
    return {short: int(where[name]) for name, short in names.items() if name in where}
