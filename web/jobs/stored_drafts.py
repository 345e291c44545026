"""Reads items of a job back from the store, as drafts of another job.

Page by page: no job is held whole.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from common.cooperate import give_way
from common.errors import NotFound
from common.store.job import Job
from common.store.job_prep import JobPrep
from common.stored_item import SideItem, StoredItem
from common.types import ItemState
from web.intake.drafts import Draft
from web.jobs.item_params import ItemParams
from web.schemas.requests import INPUTS
from web.services.services import Services

PAGE = 128  # items read at a time
COPIED = (
    *INPUTS,
    *("continuations", "tools", "custom_id", "chat_template_kwargs", "stream", "metadata"),
)


@dataclass(frozen=True)
class Choice:
    """Which items of a job: in one of these states, and, if `errors` are given, failed with one of
    these codes."""

    states: frozenset[ItemState]
    errors: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Change:
    """What is different about the items in the new job.

    `templated`: a template makes its prompts. `is_new_template`: one that the items were not
    submitted for. `overridden`: parameters that the items lose. `other_tokenizer`: token ids mean
    nothing to its model. `retries`: the items say where they come from, and those that were
    refused, which would be again, are left out. `added`: parameters that items get which can have
    them.
    """

    templated: bool = False
    is_new_template: bool = False
    overridden: Collection[str] = ()
    other_tokenizer: str | None = None
    retries: bool = False
    added: ItemParams | None = None


def drafts_again(
    services: Services, job: Job, prep: JobPrep, choice: Choice, change: Change
) -> Iterator[Draft]:
    """The chosen items that the job has now, in order.

    Raises:
        NotFound: the job was deleted meanwhile, so that a part is not taken for the whole.
    """
    again = _Again(job.id, prep, change)
    chosen = {ord(state.byte) for state in choice.states}
    states = services.store.states(job.id)
    for first in range(0, len(states), PAGE):
        here = [i for i, state in enumerate(states[first : first + PAGE]) if state in chosen]
        if here:
            for i, item, side in _read(services, job, choice, first, here):
                if draft := again.draft(first + i, item, side):
                    yield draft
        give_way()


def _read(
    services: Services, job: Job, choice: Choice, first: int, here: list[int]
) -> Iterator[tuple[int, StoredItem, SideItem]]:
    """Of a page of items, those at these places, with what is beside them."""
    start, count = first + here[0], here[-1] - here[0] + 1
    if choice.errors:
        answers = services.store.answers(job.id, start, count, job.spec)
        items = [item for item, _ in answers]
        codes = [row["error"]["code"] if row["error"] else None for _, row in answers]
    else:
        items, codes = services.store.items(job.id, start, count), [None] * count
    sides = services.store.side(job.id, start, count)
    if len(items) < count or len(sides) < count:
        raise NotFound(f"{job.id} was deleted while its items were read")
    for place in here:
        at = place - here[0]
        if not choice.errors or codes[at] in choice.errors:
            yield place, items[at], sides[at]


class _Again:
    """Makes drafts of stored items."""

    def __init__(self, job_id: str, prep: JobPrep, change: Change):
        self._job_id = job_id
        self._change = change
        self._columns = prep.get("columns")
        self._types = prep.get("types")

    def draft(self, index: int, item: StoredItem, side: SideItem) -> Draft | None:
        """None for an item that is left out."""
        change = self._change
        if "refused" in item and change.retries:
            return None
        value = self._value(item, side)
        draft = Draft(value, path=f"items.{index}", columns=self._columns, types=self._types)
        draft.default_max_tokens = side.get("default_max_tokens")
        if change.retries:
            draft.beside = {"origin": [self._job_id, index]}
            if first := side.get("first_origin") or side.get("origin"):
                draft.beside["first_origin"] = first
        if "refused" in item:
            # Another template may do with its variables what the first could not.
            draft.stays = True
            draft.refused = None if change.templated and "vars" in value else item["refused"]
        elif change.is_new_template and "vars" not in value:
            _refuse(draft, "missing_field", "vars", "the item has no vars to fill a template with")
        elif "prompt_ids" in value and change.other_tokenizer:
            message = f"token ids mean other tokens to {change.other_tokenizer}"
            _refuse(draft, "other_tokenizer", "prompt_ids", message)
        return draft

    def _value(self, item: StoredItem, side: SideItem) -> dict[str, Any]:
        value: dict[str, Any] = {name: item[name] for name in COPIED if name in item}  # type: ignore[literal-required]
        if variables := self._variables(item, side):
            value["vars"] = variables
            if self._change.templated:
                for name in INPUTS:
                    value.pop(name, None)
        if "reference" in side:
            value["reference"] = side["reference"]
        dropped = {*self._change.overridden}
        if "default_max_tokens" in side:
            dropped.add("max_tokens")  # nobody gave it: it is what fitted
        params = {k: v for k, v in item.get("params", {}).items() if k not in dropped}
        if self._change.added:
            params = self._change.added.of({**value, "params": params}) | params
        if params:
            value["params"] = params
        return value

    def _variables(self, item: StoredItem, side: SideItem) -> dict[str, Any]:
        """All of them, in the order of the columns."""
        found = {**item.get("vars", {}), **side.get("vars", {})}
        if "vars" not in item or "vars" not in side or not self._columns:
            return found
        ordered = {name: found[name] for name in self._columns if name in found}
        return ordered | found


def _refuse(draft: Draft, code: str, field: str, message: str) -> None:
    draft.fault, draft.code, draft.field = message, code, field
