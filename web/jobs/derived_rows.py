"""Makes the drafts of a job's items of the rows of other jobs.

Page by page: no job is held whole, but for a digest of each custom_id where two are matched.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.cooperate import give_way
from common.errors import NotFound
from common.prompting.template import Template
from common.store.custom_ids import Digests, job_digests
from common.store.job import Job
from common.types import ItemState
from evals.matching import match
from web.intake.drafts import Draft
from web.jobs.item_views import Whole, WholeItems
from web.schemas.messages import chat_text
from web.services.services import Services

MOST_PAGES = 8  # of a job's rows that are held: those of another order come from many
SIDES = ["output_a", "output_b"]
ORDERS = {"ab": SIDES, "ba": SIDES[::-1]}
# What a template may name beside the columns of the rows; it goes over a column of that name.
PROVIDED = ("output", "output_a", "output_b", "prompt", "reference")


@dataclass(frozen=True)
class Shape:
    """What is made of rows: the job's template, whether each becomes two items, `in_both_orders`,
    and whether these are `referred`: they keep the row's reference."""

    template: Template
    in_both_orders: bool
    referred: bool


class DerivedRows:
    """The drafts of a job of these sources. `tick` is called between two reads, however many rows
    these skip. To read them to the end raises `InvalidRequest` (`unknown_column`) if the template
    names a variable that no row has.

    A row of two sources is in both, matched by custom_id if all items have one, else by position.
    Its columns, prompt and reference are those of the first. An item says in its metadata where
    the row is in the sources. A column that has the name of something provided is kept under
    another name.
    """

    def __init__(
        self,
        services: Services,
        sources: Sequence[Job],
        shape: Shape,
        tick: Callable[[], None],
    ):
        self._shape, self._named = shape, {*shape.template.variables} & {*PROVIDED}
        self._sources = [_Source(services, job, "prompt" in self._named, tick) for job in sources]
        items = self._sources[0].items
        columns, types = items.prep.get("columns", []), items.prep.get("types", {})
        outputs = ["output"] if len(sources) == 1 else SIDES
        self._orders = ORDERS if shape.in_both_orders else {"": outputs}
        self._could_have = [*outputs, "prompt", "reference"]
        self._seen: dict[str, None] = {}  # variables that a row had
        self._any = False  # whether there was a row
        self._kept = _kept_columns(columns, self._named - _provided_before(items))
        self._types = {self._kept.get(name, name): kind for name, kind in types.items()} or None
        there = [self._kept.get(name, name) for name in columns]
        more = [name for name in PROVIDED if name in self._named and name not in there]
        self._columns = [*there, *more] if columns else None

    def __iter__(self) -> Iterator[Draft]:
        for places in self._places():
            row = [source.row(index) for source, index in zip(self._sources, places, strict=True)]
            yield from self._drafts(row)
        if self._any:
            others = [name for name in self._could_have if name not in self._named]
            self._shape.template.refuse_unknown([*others, *self._seen])

    def _places(self) -> Iterator[tuple[int, ...]]:
        """Where each row is in the sources; those that succeeded in all."""
        succeeded = [source.succeeded() for source in self._sources]
        if len(self._sources) == 1:
            yield from ((int(index),) for index in np.flatnonzero(succeeded[0]))
            return
        rows = match([source.digests() for source in self._sources]).rows
        both = np.all([succeeded[job][rows[:, job]] for job in range(len(succeeded))], axis=0)
        yield from (tuple(map(int, row)) for row in rows[both])

    def _drafts(self, row: Sequence[Whole]) -> Iterator[Draft]:
        first, items = row[0], self._sources[0].items
        columns = items.variables(first)
        kept = {self._kept.get(name, name): value for name, value in columns.items()}
        reference = items.reference(first, columns)
        provided = self._provided(first, reference, columns)
        outputs, where = [_output(each) for each in row], _where(row)
        for order, names in self._orders.items():
            shown = dict(zip(names, outputs, strict=True))
            said = {name: shown[name] for name in names if name in self._named} | provided
            value: dict[str, Any] = {"vars": kept | said}
            value["metadata"] = {**where, "order": order} if order else where
            custom_id = _in_order(first.item.get("custom_id"), order)
            if custom_id is not None:
                value["custom_id"] = custom_id
            if self._shape.referred and reference is not None:
                value["reference"] = reference
            self._note(value["vars"])
            yield Draft(value, path="input_from", columns=self._columns, types=self._types)

    def _note(self, values: Mapping[str, Any]) -> None:
        """A column may be empty in all rows, but what is provided is a value, or nothing."""
        self._any = True
        had = [name for name, value in values.items() if value is not None or name not in PROVIDED]
        self._seen.update(dict.fromkeys(had))

    def _provided(
        self, whole: Whole, reference: str | list[str] | None, columns: Mapping[str, Any]
    ) -> dict[str, Any]:
        """What a row has beside its columns; a reference, too, if it is only a column."""
        renderer, found = self._sources[0].items.renderer, {}
        if "prompt" in self._named and renderer:
            asked = renderer.asked(whole.item)
            found["prompt"] = asked if asked is None or isinstance(asked, str) else chat_text(asked)
        if "reference" in self._named:
            first = reference[0] if isinstance(reference, list) else reference
            found["reference"] = columns.get("reference") if first is None else first
        return found


class _Source:
    """One source: reads its rows, and holds the last pages."""

    def __init__(self, services: Services, job: Job, renders: bool, tick: Callable[[], None]):
        self.items = WholeItems(services, job, renders)
        self._store = services.store
        self._job = job
        self._tick = tick
        self._pages: OrderedDict[int, list[Whole]] = OrderedDict()

    def succeeded(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Whether each item did."""
        states = np.frombuffer(self._store.states(self._job.id), np.uint8)
        if len(states) < self._job.total:
            raise self._deleted()
        found: np.ndarray[Any, np.dtype[np.bool_]] = states == ord(ItemState.SUCCEEDED.byte)
        return found

    def digests(self) -> Digests:
        """Of the custom_ids of all items."""
        return job_digests(self._store, self._job, self._step)

    def row(self, index: int) -> Whole:
        size = self.items.at_once
        first = index // size * size
        if first not in self._pages:
            self._step()
            self._pages[first] = self.items.read(first, size)
            if len(self._pages) > MOST_PAGES:
                self._pages.popitem(last=False)
        page = self._pages[first]
        if index - first >= len(page):
            raise self._deleted()
        return page[index - first]

    def _step(self) -> None:
        give_way()
        self._tick()

    def _deleted(self) -> NotFound:
        return NotFound(f"{self._job.id} was deleted while its rows were read")


def _output(whole: Whole) -> str | None:
    """The text of its first output; None where texts were scored instead."""
    outputs = whole.row["outputs"]
    return outputs[0]["text"] if outputs else None


def _where(row: Sequence[Whole]) -> dict[str, int]:
    if len(row) == 1:
        return {"index": row[0].row["index"]}
    return {f"index_{name}": each.row["index"] for name, each in zip("ab", row, strict=True)}


def _in_order(custom_id: str | None, order: str) -> str | None:
    """The custom_id of a row, or of a pair in one order; None where it would be too long."""
    named = f"{custom_id}#{order}" if order else custom_id or ""
    return named if custom_id is not None and len(named) <= 256 else None


def _provided_before(items: WholeItems) -> set[str]:
    """Columns that are none of its own: what was provided to a job that is made of rows itself."""
    template = items.prep.get("template")
    if items.job.input_from is None or template is None:
        return set()
    return {*Template.parse(template).variables} & {*PROVIDED}


def _kept_columns(columns: Sequence[str], replaced: Collection[str]) -> dict[str, str]:
    """Of the columns whose names are replaced, each with a name that is free."""
    found: dict[str, str] = {}
    for name in columns:
        if name in replaced:
            free = f"source_{name}"
            while free in columns:
                free = f"source_{free}"
            found[name] = free
    return found
