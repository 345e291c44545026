"""Items as tenants see them: input and result with what belongs to them, as rows and as pages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from common.references import reference_of
from common.result_row import Beside, InputRow, Row
from common.store.job import Job
from common.store.records import Unreadable, reading
from common.store.rows import TEMPLATE_KWARGS, unreadable_row
from common.stored_item import SideItem, StoredItem
from web.jobs.rendering import Renderer
from web.jobs.row_scores import RowScores, scored_by
from web.jobs.views import page
from web.schemas.items import ItemList, ItemRow
from web.schemas.queries import ItemPage
from web.schemas.requests import INPUTS
from web.services.services import Services

MOST = 128  # items read at once
MOST_CHUNKS = 8  # of inputs, so: a chunk has more than 256 KiB of JSON only if it is one item
MOST_READ = 4 * 2**20  # bytes as stored, so, about
SHOWN = (*INPUTS, "tools", TEMPLATE_KWARGS)


class Whole(NamedTuple):
    """An item as it is stored, its row, and what is kept beside it. The row may be that of a
    retry, which is named then."""

    item: StoredItem
    row: Row
    side: SideItem
    retried_in: str | None = None


class WholeItems:
    """Reads the items of one job with all that belongs to them: `rendered` prompts if wanted, and
    their `scores` where there are any."""

    def __init__(
        self,
        services: Services,
        job: Job,
        rendered: bool = False,
        scores: RowScores | None = None,
    ):
        self._store = store = services.store
        self.scores = scores
        self.job = job
        self.prep = store.prep(job.id)
        self.has_side = store.has_side(job.id)
        self.renderer = Renderer(services, job, self.prep) if rendered else None
        self._places = {name: place for place, name in enumerate(self.prep.get("columns", ()))}
        self._reference = self.prep.get("mapped", {}).get("reference")

    @cached_property
    def at_once(self) -> int:
        """How many items are to be read at once: fewer where they are large."""
        a_chunk = self.job.total / max(1, self._store.chunks(self.job.id))
        few = min(MOST_CHUNKS * a_chunk, MOST_READ / max(1, self.job.item_bytes))
        return max(1, min(MOST, int(few)))

    def read(self, first: int, count: int) -> list[Whole]:
        """Items [first, first + count), fewer at the end of the job."""
        answers = self._store.answers(self.job.id, first, count, self.job.spec)
        if not self.has_side:
            return [Whole(item, row, {}) for item, row in answers]
        sides = self._sides(first, len(answers))
        return [
            Whole(item, row, side) if side is not None else self._unreadable(row)
            for (item, row), side in zip(answers, sides, strict=False)
        ]

    def _sides(self, first: int, count: int) -> Sequence[SideItem | None]:
        """None for those whose chunk is damaged."""
        try:
            return self._store.side(self.job.id, first, count)
        except Unreadable:
            if count > 1:
                return [self._sides(index, 1)[0] for index in range(first, first + count)]
            return [None]

    def _unreadable(self, row: Row) -> Whole:
        error = Unreadable(f"what is kept beside item {row['index']} cannot be read")
        return Whole({}, unreadable_row(row["index"], error, row["model"], row["params"]), {})

    def beside(self, whole: Whole) -> Beside:
        """What belongs to an item besides its input and result, where there is any."""
        item, side = whole.item, whole.side
        found: Beside = {}
        if values := self.variables(whole):
            found["vars"] = values
        reference = self.reference(whole, values)
        if reference is not None:
            found["reference"] = reference
        if "truncated_tokens" in item:
            found["truncated_tokens"] = item["truncated_tokens"]
        if "origin" in side:
            job_id, index = side["origin"]
            found["origin"] = {"job": job_id, "index": index}
        if whole.retried_in is not None:
            found["retried_in"] = whole.retried_in
        if self.renderer:
            found["rendered"] = self.renderer.text(item)
        if self.scores:
            found["scores"] = self.scores_of(whole)
        return found

    def reference(self, whole: Whole, values: Mapping[str, Any]) -> str | list[str] | None:
        """What an item with these columns is compared with: from its own field, else from the
        column that is mapped to it."""
        if "reference" in whole.side or self._reference is None:
            return whole.side.get("reference")
        return reference_of(values.get(self._reference))

    def scores_of(self, whole: Whole) -> dict[str, float | None]:
        """The scores of an item by what rows call them; {} where the job has none. The text of a
        retry was not scored with this job."""
        if self.scores is None:
            return {}
        if whole.retried_in is not None:
            return self.scores.none()
        return self.scores.of(whole.row["index"])

    def variables(self, whole: Whole) -> dict[str, Any]:
        """The item's columns, in the order of the input."""
        named, others = whole.item.get("vars"), whole.side.get("vars")
        if not named and not others:
            return {}
        places, last = self._places, len(self._places)
        pairs = {**(others or {}), **(named or {})}.items()
        return dict(sorted(pairs, key=lambda pair: places.get(pair[0], last)))

    def shown(self, whole: Whole) -> InputRow:
        """The row with the input of its item and what belongs to it."""
        item = whole.item
        found: Any = {
            **whole.row,
            **{name: value for name, value in item.items() if name in SHOWN},
            **self.beside(whole),
        }
        if "continuations" in item and "continuations" not in found:
            found["continuations"] = [{"text": text} for text in item["continuations"]]
        return found

    def item_row(self, whole: Whole) -> ItemRow:
        """The same; where it makes no sense because its record is damaged the row says so."""
        row = whole.row
        try:
            with reading(f"item {row['index']}"):
                return ItemRow.model_validate(self.shown(whole))
        except Unreadable as error:
            return ItemRow.model_validate(
                unreadable_row(row["index"], error, row["model"], row["params"])
            )


def item_rows(
    services: Services,
    job_id: str,
    tenant: str,
    first: int,
    count: int,
    rendered: bool = False,
    evaluation: str | None = None,
) -> list[InputRow]:
    """`ItemRow`s of items [first, first + count), as dictionaries, with the scores of this
    evaluation, or of the newest that is done."""
    job = services.store.job(job_id, tenant)
    items = WholeItems(services, job, rendered, scored_by(services, job, tenant, evaluation))
    return [items.shown(whole) for whole in items.read(first, count)]


def item_list(
    services: Services, job_id: str, tenant: str, wanted: ItemPage | None = None
) -> ItemList:
    """Items after index `wanted.after`, in order, as many as make a `page`."""
    wanted = wanted or ItemPage()
    job = services.store.job(job_id, tenant)
    scores = scored_by(services, job, tenant, wanted.evaluation)
    items = WholeItems(services, job, wanted.renders, scores)
    found = _few_by_few(items, wanted.after + 1, wanted.limit + 1)
    rows = (items.item_row(whole) for whole in found)
    data, more = page(((row, len(row.model_dump_json())) for row in rows), wanted.limit)
    return ItemList(data=data, has_more=more, after=data[-1].index if more else None)


def _few_by_few(items: WholeItems, first: int, count: int) -> Iterator[Whole]:
    few = items.at_once
    for at in range(first, first + count, few):
        found = items.read(at, min(few, first + count - at))
        yield from found
        if len(found) < few:
            return
