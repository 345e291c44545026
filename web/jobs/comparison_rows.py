"""The rows of a comparison: items of several jobs that belong together, found by how they differ.

Which rows differ, and how, was computed with the comparison: a request reads some of that, and then
only the items that it shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np

from common.cooperate import Steps
from common.errors import InvalidRequest, NotFound
from common.result_row import InputRow
from common.store.comparison_rows import CHANGED, FAILED, Array, RowBlock, parse_block
from common.store.comparisons import BLOCK
from common.store.item_scores import ScoreReader
from common.store.records import reading
from common.types import JsonObject
from evals.registry import METRICS
from web.jobs.comparisons import Wanted, comparison
from web.jobs.item_views import WholeItems
from web.jobs.views import page
from web.schemas.comparisons import ComparedRow, ComparedRows, RowFilter, RowsQuery
from web.services.services import Services

MOST_BLOCKS = 64  # looked at for one request: 262,144 items
AT_ONCE = 8  # blocks
MOST_AT_ONCE = 32  # rows that are read together, fewer where they are large
MOST_READ = 8 * 2**20  # bytes of items as stored, so, about
MOST_TEXT = 65_536  # characters of an output


@dataclass(frozen=True)
class Together:
    """Items that belong together: of each job, by its id, the whole row and its scores."""

    rows: dict[str, InputRow]
    scores: dict[str, dict[str, float | None]]
    difference: dict[str, float | None]  # by the metric that was asked for


class Found(NamedTuple):
    """`metric` is what differences go by; `after` where to go on, None at the end. `rows` are read
    a few at a time."""

    metric: str | None
    rows: Iterator[Together]
    after: int | None


def row_list(services: Services, tenant: str, found: Wanted, query: RowsQuery) -> ComparedRows:
    """A page of rows, for the API.

    Raises: as `find_rows`.
    """
    look = find_rows(services, tenant, found, query)
    if look is None:
        return ComparedRows(status="running", metric=None, data=[], has_more=False, after=None)
    baseline = found.jobs[0].id
    views = (_view(row, baseline) for row in look.rows)
    data, cut = page(((view, len(view.model_dump_json())) for view in views), query.limit)
    after = data[-1].index[baseline] if cut else look.after
    return ComparedRows(
        status="done", metric=look.metric, data=data, has_more=after is not None, after=after
    )


def find_rows(services: Services, tenant: str, found: Wanted, query: RowsQuery) -> Found | None:
    """The next rows that are as wanted; None while the comparison is computed.

    Raises:
        NotFound: a job was deleted meanwhile.
        InvalidRequest: there is no such metric in the comparison, or it has no better direction.
        Otherwise as `comparison`.
    """
    result = comparison(services, tenant, found.asked).result
    if result is None:
        return None
    metric = _metric(result, query.filter, query.metric)
    look = _Look(services, found, result["judged"], query.filter, metric)
    places = list(islice(look.places(query.after), query.limit + 1))
    shown = places[: query.limit]
    after = int(shown[-1][0]) if len(places) > query.limit else look.stopped_at
    return Found(metric, _read(services, found, shown, metric), after)


def _metric(result: JsonObject, wanted: RowFilter, given: str | None) -> str | None:
    names = [each["metric"] for each in result["metrics"]]
    if given is not None and given not in names:
        there = f"it has {', '.join(names)}" if names else "it has no metric"
        raise InvalidRequest(
            f"metric {given[:64]!r} is not in this comparison: {there}",
            code="invalid_value",
            field="metric",
        )
    metric = given or next(iter((*result["judged"], *names)), None)
    if wanted in ("better", "worse") and metric not in result["judged"]:
        raise InvalidRequest(
            f"{wanted} needs a metric that has a better direction; "
            + (f"{metric} has none" if metric else "this comparison has none"),
            code="invalid_value",
            field="metric",
        )
    return metric


class _Look:
    """Looks for rows. `stopped_at` is the last item of the baseline that it looked at, where it
    stopped before the end."""

    def __init__(
        self,
        services: Services,
        found: Wanted,
        judged: Sequence[str],
        wanted: RowFilter,
        metric: str | None,
    ):
        self._services = services
        self._found = found
        self._judged = judged
        self._wanted = wanted
        self._metric = metric
        self.stopped_at: int | None = None

    def places(self, after: int) -> Iterator[list[int]]:
        """The items of each row, by their indices, in the order of the baseline."""
        first = (after + 1) // BLOCK
        end = -(-self._found.jobs[0].total // BLOCK)
        last, steps = min(end, first + MOST_BLOCKS), Steps()
        for at in range(first, last, AT_ONCE):
            numbers = range(at, min(at + AT_ONCE, last))
            blobs = self._services.comparisons.blocks(self._found.asked.id, numbers)
            for blob in blobs:
                if blob is not None:
                    yield from self._matching(blob, after)
                steps.step()
        if last < end:
            self.stopped_at = last * BLOCK - 1

    def _matching(self, blob: bytes, after: int) -> list[list[int]]:
        with reading("the rows of a comparison"):
            block = parse_block(blob, len(self._found.jobs), self._judged)
        wanted = self._mask(block) & (block.places[:, 0] > after)
        places: list[list[int]] = block.places[wanted].tolist()
        return places

    def _mask(self, block: RowBlock) -> Array:
        match self._wanted:
            case "all":
                return np.ones(len(block.flags), np.bool_)
            case "changed":
                return (block.flags & CHANGED) > 0
            case "failed":
                return (block.flags & FAILED) > 0
            case _:
                verdicts = block.verdicts[:, self._judged.index(str(self._metric))]
                found: Array = (verdicts == (1 if self._wanted == "better" else -1)).any(axis=1)
                return found


def _read(
    services: Services, found: Wanted, places: Sequence[Sequence[int]], metric: str | None
) -> Iterator[Together]:
    """The rows at these places, with their scores."""
    jobs = {job.id: WholeItems(services, job) for job in found.jobs}
    scores = {
        job.id: services.item_scores.reader(evaluation.id)
        for job, evaluation in zip(found.jobs, found.evaluations, strict=True)
    }
    size = sum(each.job.item_bytes for each in jobs.values())
    few = max(1, min(MOST_AT_ONCE, MOST_READ // max(1, size)))
    for at in range(0, len(places), few):
        yield from _few(found, jobs, scores, places[at : at + few], metric)


def _few(
    found: Wanted,
    jobs: Mapping[str, WholeItems],
    scores: Mapping[str, ScoreReader],
    places: Sequence[Sequence[int]],
    metric: str | None,
) -> Iterator[Together]:
    rows: dict[str, dict[int, InputRow]] = {}
    for at, job in enumerate(found.jobs):
        if job.id not in rows:
            rows[job.id] = _items(jobs[job.id], sorted(place[at] for place in places))
    for place in places:
        items = [(job.id, place[at]) for at, job in enumerate(found.jobs)]
        yield _together(items, rows, scores, metric)


def _items(items: WholeItems, indices: Sequence[int]) -> dict[int, InputRow]:
    steps, found = Steps(), {}
    for first, count in _runs(indices, items.at_once):
        whole = items.read(first, count)
        if len(whole) < count:
            raise NotFound(f"no job {items.job.id}")
        found.update({one.row["index"]: items.shown(one) for one in whole})
        steps.step()
    return found


def _runs(indices: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    """Ascending indices as (first, count) of stretches without a gap, which have at most `most`."""
    first = last = None
    for index in indices:
        if first is not None and last is not None and (index - last > 1 or index - first >= most):
            yield first, last - first + 1
            first = None
        first = index if first is None else first
        last = index
    if first is not None and last is not None:
        yield first, last - first + 1


def _together(
    items: Sequence[tuple[str, int]],
    rows: dict[str, dict[int, InputRow]],
    scores: Mapping[str, ScoreReader],
    metric: str | None,
) -> Together:
    """Of items by job and index, the baseline's first."""
    theirs = {job: scores[job].of(index) for job, index in items}
    baseline, *_ = items
    values = {job: found.get(metric) if metric else None for job, found in theirs.items()}
    base = values[baseline[0]]
    apart = {
        job: None if base is None or value is None else value - base
        for job, value in values.items()
        if job != baseline[0] or len(items) > len(values)
    }
    named = {
        job: {METRICS[name].row_name: value for name, value in found.items()}
        for job, found in theirs.items()
    }
    return Together({job: rows[job][index] for job, index in items}, named, apart)


def _view(row: Together, baseline: str) -> ComparedRow:
    outputs = {
        job: [output["text"] for output in each["outputs"]] for job, each in row.rows.items()
    }
    return ComparedRow.model_validate(
        {
            "custom_id": row.rows[baseline]["custom_id"],
            "index": {job: each["index"] for job, each in row.rows.items()},
            "status": {job: each["status"] for job, each in row.rows.items()},
            "outputs": {
                job: [text[:MOST_TEXT] for text in texts] for job, texts in outputs.items()
            },
            "shortened": any(len(text) > MOST_TEXT for texts in outputs.values() for text in texts),
            "errors": {job: each["error"] for job, each in row.rows.items() if each["error"]},
            "scores": row.scores,
            "difference": row.difference,
        }
    )
