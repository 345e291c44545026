"""Items as tenants see them: input and result with what belongs to them, as rows and as pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from common.references import reference_of
from common.result_row import Beside, InputRow, Row
from common.store.job import Job
from common.store.jobs import JobStore
from common.store.records import Unreadable, reading
from common.store.rows import TEMPLATE_KWARGS, unreadable_row
from common.stored_item import SideItem, StoredItem
from web.jobs.views import page
from web.schemas.answers import ItemList, ItemRow
from web.schemas.requests import INPUTS
from web.services.services import Services

FEW = 64  # items read at a time for a page
SHOWN = (*INPUTS, TEMPLATE_KWARGS)


class Whole(NamedTuple):
    """An item as it is stored, its row, and what is kept beside it."""

    item: StoredItem
    row: Row
    side: SideItem


class WholeItems:
    """Reads the items of one job with all that belongs to them."""

    def __init__(self, store: JobStore, job: Job):
        self._store = store
        self.job = job
        self.prep = store.prep(job.id)
        self.has_side = store.has_side(job.id)
        self._places = {name: place for place, name in enumerate(self.prep.get("columns", ()))}
        self._reference = self.prep.get("mapped", {}).get("reference")

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
        item, _, side = whole
        found: Beside = {}
        if values := self.variables(whole):
            found["vars"] = values
        if "reference" in side:
            found["reference"] = side["reference"]
        elif self._reference is not None:
            mapped = reference_of(values.get(self._reference))
            if mapped is not None:
                found["reference"] = mapped
        if "truncated_tokens" in item:
            found["truncated_tokens"] = item["truncated_tokens"]
        if "origin" in side:
            job_id, index = side["origin"]
            found["origin"] = {"job": job_id, "index": index}
        return found

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
    services: Services, job_id: str, tenant: str, first: int, count: int
) -> list[InputRow]:
    """`ItemRow`s of items [first, first + count), as dictionaries."""
    items = WholeItems(services.store, services.store.job(job_id, tenant))
    return [items.shown(whole) for whole in items.read(first, count)]


def item_list(
    services: Services, job_id: str, tenant: str, after: int = -1, limit: int = 100
) -> ItemList:
    """Items after index `after`, in order, as many as make a `page`."""
    items = WholeItems(services.store, services.store.job(job_id, tenant))
    rows = (items.item_row(whole) for whole in _few_by_few(items, after + 1, limit + 1))
    data, more = page(((row, len(row.model_dump_json())) for row in rows), limit)
    return ItemList(data=data, has_more=more, after=data[-1].index if more else None)


def _few_by_few(items: WholeItems, first: int, count: int) -> Iterator[Whole]:
    for at in range(first, first + count, FEW):
        found = items.read(at, min(FEW, first + count - at))
        yield from found
        if len(found) < FEW:
            return
