"""Makes the drafts of a job's items of the rows of other jobs.

Page by page: no job is held whole, but for a digest of each custom_id where two are matched.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from common.cooperate import give_way
from common.errors import NotFound
from common.store.custom_ids import Digests, job_digests
from common.store.job import Job
from common.structured.tool_prompt import Messages
from common.types import ItemState
from evals.matching import match
from web.intake.drafts import Draft
from web.jobs.item_views import Whole, WholeItems
from web.schemas.messages import message_texts
from web.services.services import Services

MOST_PAGES = 8  # of a job's rows that are held: those of another order come from many
SIDES = ["output_a", "output_b"]
ORDERS = {"ab": SIDES, "ba": SIDES[::-1]}
# What a template may name beside the columns of the rows; it goes over a column of that name.
PROVIDED = ("output", "output_a", "output_b", "prompt", "reference")


class DerivedRows:
    """The drafts of a job of these sources, by name those of its template's variables that it
    needs. `tick` is called between two reads, however many rows these skip.

    A row of two sources is in both, matched by custom_id if all items have one, else by position.
    Its columns, prompt and reference are those of the first. An item says in its metadata where
    the row is in the sources. For a judge of pairs each row is two items, in both orders.
    """

    def __init__(
        self,
        services: Services,
        sources: Sequence[Job],
        named: Iterable[str],
        in_both_orders: bool,
        tick: Callable[[], None],
    ):
        self._named = {*named} & {*PROVIDED}
        self._sources = [_Source(services, job, "prompt" in self._named, tick) for job in sources]
        self._in_both_orders = in_both_orders
        prep = self._sources[0].items.prep
        self._types = prep.get("types")
        columns = prep.get("columns")
        more = [name for name in PROVIDED if name in self._named and name not in (columns or ())]
        self._columns = [*columns, *more] if columns else None

    def __iter__(self) -> Iterator[Draft]:
        for places in self._places():
            row = [source.row(index) for source, index in zip(self._sources, places, strict=True)]
            yield from self._drafts(row)

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
        first, source = row[0], self._sources[0]
        values = {**source.items.variables(first), **self._provided(first)}
        outputs = [_output(each) for each in row]
        custom_id, where = first.item.get("custom_id"), _where(row)
        if len(row) == 1:
            yield self._draft(custom_id, values, {"output": outputs[0]}, where)
        elif not self._in_both_orders:
            shown = dict(zip(ORDERS["ab"], outputs, strict=True))
            yield self._draft(custom_id, values, shown, where)
        else:
            for order, names in ORDERS.items():
                shown = dict(zip(names, outputs, strict=True))
                yield self._draft(
                    _in_order(custom_id, order), values, shown, {**where, "order": order}
                )

    def _draft(
        self,
        custom_id: str | None,
        values: dict[str, Any],
        outputs: dict[str, str | None],
        where: dict[str, Any],
    ) -> Draft:
        said = {name: text for name, text in outputs.items() if name in self._named}
        value: dict[str, Any] = {"vars": {**values, **said}, "metadata": where}
        if custom_id is not None:
            value["custom_id"] = custom_id
        return Draft(value, path="input_from", columns=self._columns, types=self._types)

    def _provided(self, whole: Whole) -> dict[str, Any]:
        items, found = self._sources[0].items, {}
        if "prompt" in self._named and items.renderer:
            found["prompt"] = _as_text(items.renderer.asked(whole.item))
        if "reference" in self._named:
            reference = items.beside(whole).get("reference")
            found["reference"] = reference[0] if isinstance(reference, list) else reference
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
    """The custom_id of a pair in one order; None where it would be too long."""
    named = f"{custom_id}#{order}"
    return named if custom_id is not None and len(named) <= 256 else None


def _as_text(asked: str | Messages | None) -> str | None:
    """A prompt as one text: a chat of one message as that, others with the name of who speaks."""
    if asked is None or isinstance(asked, str):
        return asked
    said = [(message["role"], "\n".join(message_texts(message))) for message in asked]
    if len(said) == 1:
        return said[0][1]
    return "\n\n".join(f"{role}: {text}" for role, text in said)
