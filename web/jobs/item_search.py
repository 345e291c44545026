"""Finds items of a job by state, error, custom_id and text, in order of index or of completion.

A search looks at what is stored as it is, and parses only what may match. It lets other requests
run, and stops after `BUDGET` seconds: the answer says how far it looked, and the next goes on.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Iterator
from itertools import islice

from common.cooperate import Steps
from common.result_row import Row
from common.store.job import Job
from common.store.packing import expand, unpack
from common.store.raw_items import Picked, PickedItem
from common.store.records import Unreadable, reading
from common.store.rows import answer, complete_params
from common.store.side_chunk import unpack_side
from common.stored_item import SideItem, StoredItem
from common.types import ItemState
from web.jobs.item_views import Whole, WholeItems
from web.jobs.row_scores import scored_by
from web.jobs.score_view import Places, ScoreView
from web.jobs.views import page
from web.schemas.items import ItemList, ItemRow
from web.schemas.messages import message_texts
from web.schemas.queries import ItemPage
from web.services.services import Services

BUDGET = 1.0  # seconds of one request
GROUP = 128  # items read at once, fewer where they are large
FEWEST = 16
MOST_READ = 4 * 2**20  # bytes of items and results read at once, about
SLICE = 2**14  # places in the order of completion that are read at once
MOST_CHUNKS = 4  # kept parsed: items that end one after the other lie in few chunks


def find_items(
    services: Services,
    job_id: str,
    tenant: str,
    wanted: ItemPage,
    scored: ScoreView | None = None,
) -> ItemList:
    """Items after `wanted.after` that are as wanted, as many as make a `page`. With `scored` only
    those that it has; where it is ranked, `wanted.order` says only from which end.

    Raises:
        NotFound: no such job, or it is another tenant's.
    """
    search = _Search(services, services.store.job(job_id, tenant), wanted, scored)
    sized = ((found, len(found[1].model_dump_json())) for found in search.matches())
    data, more = page(sized, wanted.limit)
    after = data[-1][0] if more else search.stopped_at
    return ItemList(
        data=[row for _, row in data],
        has_more=after is not None,
        after=after,
        searched_to=None if more else search.stopped_at,
    )


class _Search:
    """One request's. `stopped_at` is the cursor of the last item that it looked at, if it ran out
    of time before the last item of the job."""

    def __init__(
        self, services: Services, job: Job, wanted: ItemPage, scored: ScoreView | None = None
    ):
        self._store = services.store
        self._job = job
        self._scored = scored
        scores = scored_by(services, job, job.tenant, wanted.evaluation)
        self._items = WholeItems(services, job, wanted.renders, scores)
        self._wanted = wanted
        self._text = _Needle(wanted.text) if wanted.text else None
        self._id = _Needle(wanted.id) if wanted.id else None
        self._state = ItemState.FAILED if wanted.error else wanted.state
        # An item that failed for one reason is in no other state.
        self._none = bool(wanted.error) and wanted.state not in (None, ItemState.FAILED)
        self.stopped_at: int | None = None

    def matches(self) -> Iterator[tuple[int, ItemRow]]:
        """(cursor, row) of each item that is as wanted, in the wanted order."""
        end, steps = time.monotonic() + BUDGET, Steps()
        places = iter(()) if self._none else self._places()
        looks_inside = self._text or self._id or self._wanted.error
        most = GROUP if looks_inside else min(GROUP, self._wanted.limit + 1)  # all of them match
        size = max(FEWEST, min(most, MOST_READ // max(1, self._job.item_bytes)))
        while group := list(islice(places, size)):
            indices = sorted(index for _, index in group)
            picked = self._store.pick(self._job.id, indices, self._items.has_side)
            look = _Look(self._items, picked, self._text, self._id)
            if self._items.scores and not looks_inside:
                self._items.scores.look_ahead(indices)
            for cursor, index in group:
                steps.step()
                found = look.at(index)
                if found is not None and self._has_error(found.row):
                    yield cursor, self._items.item_row(found)
            if time.monotonic() > end:
                self.stopped_at = None if next(places, None) is None else group[-1][0]
                return

    def _has_error(self, row: Row) -> bool:
        code = self._wanted.error
        return code is None or (row["error"] is not None and row["error"].get("code") == code)

    def _places(self) -> Places:
        """Those to be looked at: in the wanted order, behind `after`, in the wanted state."""
        states = self._store.states(self._job.id)
        backwards, scored = self._wanted.order.startswith("-"), self._scored
        if scored and scored.is_ranked:
            return self._by_score(states, backwards, scored)
        if self._wanted.order.endswith("index"):
            places = self._by_index(states, backwards)
        else:
            places = self._by_completion(states, backwards)
        return (each for each in places if scored.has(each[1])) if scored else places

    def _by_score(self, states: bytes, backwards: bool, scored: ScoreView) -> Places:
        byte = self._state.byte.encode() if self._state else None
        for place, index in scored.ranked(self._wanted.after, backwards):
            if byte is None or states[index : index + 1] == byte:
                yield place, index

    def _by_index(self, states: bytes, backwards: bool) -> Places:
        after = self._wanted.after
        last = len(states) if after < 0 else min(after, len(states))
        if self._state is None:
            indices = range(last - 1, -1, -1) if backwards else range(after + 1, len(states))
            yield from ((index, index) for index in indices)
            return
        byte = self._state.byte.encode()
        index = states.rfind(byte, 0, last) if backwards else states.find(byte, after + 1)
        while index >= 0:
            yield index, index
            index = states.rfind(byte, 0, index) if backwards else states.find(byte, index + 1)

    def _by_completion(self, states: bytes, backwards: bool) -> Places:
        after, total = self._wanted.after, self._store.finished(self._job.id)
        first, end = (
            (0, total if after < 0 else min(after, total)) if backwards else (after + 1, total)
        )
        starts = range(first, end, SLICE)
        byte = self._state.byte.encode() if self._state else None
        for start in reversed(starts) if backwards else starts:
            indices = self._store.finished_after(self._job.id, start, min(SLICE, end - start))
            places = list(enumerate(indices, start))
            for place, index in reversed(places) if backwards else places:
                # What was added since the states were read has none here.
                if byte is None or states[index : index + 1] == byte:
                    yield place, index


class _Needle:
    """What is searched for, whatever its upper and lower case."""

    def __init__(self, text: str):
        self._folded = text.casefold()
        self._as_json = json.dumps(self._folded, ensure_ascii=False)[1:-1]

    def is_in(self, text: str) -> bool:
        return self._folded in text.casefold()

    def may_be_in(self, blob: bytes) -> bool:
        """Whether it may be in a text of what `pack` made; False if it is sure not to be."""
        if blob[:1] in (b"{", b"["):  # a script's, which escapes other characters than `pack`
            return True
        try:
            return self._as_json in expand(blob).decode(errors="replace").casefold()
        except zlib.error:
            return False


class _Look:
    """Looks into items that were read together."""

    def __init__(
        self, items: WholeItems, picked: Picked, text: _Needle | None, custom_id: _Needle | None
    ):
        self._whole = items
        self._job = items.job
        self._picked = {item.index: item for item in picked.items}
        self._chunks, self._sides = picked.chunks, picked.sides
        self._params = complete_params(items.job.spec, {})
        self._text = text
        self._id = custom_id
        self._may_have: dict[int, bool] = {}  # by the first index of a chunk
        self._parsed: dict[int, tuple[list[StoredItem], list[SideItem]]] = {}  # so, too

    def at(self, index: int) -> Whole | None:
        """The item; None where the texts that are searched for are not in it."""
        picked = self._picked[index]
        if not self._may_match(picked):
            return None
        stored, side = self._stored(picked)
        item, row = answer(
            self._job.id,
            index,
            stored,
            picked.state,
            picked.result,
            self._job.spec,
            self._params,
        )
        whole = Whole(item, row, side)
        if self._id and not self._id.is_in(item.get("custom_id", "")):
            return None
        if self._text and not any(map(self._text.is_in, self._texts(whole))):
            return None
        return whole

    def _may_match(self, picked: PickedItem) -> bool:
        in_chunk = self._may_have.get(picked.start)
        if in_chunk is None:
            in_chunk = self._may_have[picked.start] = self._chunk_may_match(picked.start)
        return in_chunk or bool(
            self._text and not self._id and picked.result and self._text.may_be_in(picked.result)
        )

    def _chunk_may_match(self, start: int) -> bool:
        """Of two texts the id must be in the item, and the other may be in its result."""
        if self._id:
            return self._id.may_be_in(self._chunks[start])
        return self._text is None or any(
            self._text.may_be_in(blobs[start])
            for blobs in (self._chunks, self._sides)
            if start in blobs
        )

    def _stored(self, picked: PickedItem) -> tuple[StoredItem | None, SideItem]:
        """An item and what is beside it; None where its chunk cannot be read."""
        if picked.start not in self._parsed:
            if len(self._parsed) == MOST_CHUNKS:
                self._parsed.clear()
            self._parsed[picked.start] = self._parse(picked.start)
        (items, sides), place = self._parsed[picked.start], picked.index - picked.start
        return (
            items[place] if place < len(items) else None,
            sides[place] if place < len(sides) else {},
        )

    def _parse(self, start: int) -> tuple[list[StoredItem], list[SideItem]]:
        try:
            with reading(f"items from {start} on of {self._job.id}"):
                side = self._sides.get(start)
                return unpack(self._chunks[start]), unpack_side(side) if side else []
        except Unreadable:
            return [], []

    def _texts(self, whole: Whole) -> Iterator[str]:
        """The texts of an item in which `text` is searched for."""
        item, beside = whole.item, self._whole.beside(whole)
        yield item.get("prompt", "")
        for message in item.get("messages", ()):
            yield from message_texts(message)
        yield from item.get("continuations", ())
        for value in (*item.get("metadata", {}).values(), *beside.get("vars", {}).values()):
            yield value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        reference = beside.get("reference", "")
        yield from [reference] if isinstance(reference, str) else reference
        for output in whole.row["outputs"]:
            yield output["text"]
