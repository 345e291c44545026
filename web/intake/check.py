"""Checks a job's items against its model, a chunk at a time, and adds up what they will cost.

Knows nothing of Redis or HTTP: drafts go in, records for the store come out, and every fault is
kept with its place. What is checked of one item is in `prompts.py` and `fit.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import NoReturn

from pydantic import ValidationError

from common.cooperate import give_way
from common.errors import ErrorDict, TooLarge
from common.settings import Settings
from common.store.job_prep import JobPrep
from common.stored_item import SideItem, StoredItem
from web.intake.drafts import Draft
from web.intake.faults import Broken, Fault, error_dicts, refusal
from web.intake.fit import check_job, check_model, check_size, fitting_max_tokens
from web.intake.formats import Formats
from web.intake.input_columns import InputColumns, size_of
from web.intake.preparation import prep_of
from web.intake.prompts import Asked, Prompts
from web.intake.read_item import has_reference, read_item
from web.intake.records import given_id, item_record, refused_record, refused_side, side_record
from web.intake.scores import Scores, check_fit
from web.intake.totals import Totals
from web.intake.validation_messages import MOST_FAULTS
from web.schemas.requests import Item, JobOptions, keeps_bad_rows
from web.services.models import Model

CHUNK = 64  # items tokenized together
CHUNK_CHARACTERS = 1 << 20  # after which no further item joins them
LONG = 0.02  # seconds after which others are served before the next item is read
# Continuations of a job that are streamed: how far each was sent must fit into a header.
MOST_STREAMS = 512


# What the sender knows as the place of what is wrong with a prompt that a template made.
OF_TEMPLATE = {"prompt": "vars", "messages": "vars"}
# An item as the store keeps it, and what is kept beside it.
Record = tuple[StoredItem, SideItem | None]


@dataclass(slots=True)
class _Read:
    """An item that is valid in itself, its place in the chunk, and what it asks."""

    place: int
    draft: Draft
    item: Item
    asked: Asked


@dataclass
class Intake:
    """Checks the items of one job. `faults` are 100 at most: a user corrects no more at once.

    `default_max_tokens` is what an item gets, as far as it fits, that has none; the API's own
    default if None. With `refused_stay` an item that cannot be run stays in the job, to fail there:
    only what is `Broken` is a fault. So it is where the options keep bad rows. `rendered_at` is the
    time that chat templates are given, in unix seconds; the worker gives them the same. With
    `notes_fitted` it is noted beside an item that its max_tokens was not given, but made to fit.
    `defaulted` are names of the options' params that the model's card gave.
    """

    model: Model
    options: JobOptions
    limits: Settings
    formats: Formats
    default_max_tokens: int | None = None
    refused_stay: bool = False
    notes_fitted: bool = True
    defaulted: Set[str] = frozenset()
    rendered_at: int = field(default_factory=lambda: int(time.time()))
    totals: Totals = field(default_factory=Totals)
    faults: list[ErrorDict] = field(default_factory=list)
    # Errors of items that stay in the job, to fail there; the first ones.
    stayed: list[ErrorDict] = field(default_factory=list)
    columns: InputColumns = field(default_factory=InputColumns)
    _seen: dict[str, str] = field(default_factory=dict)  # custom_id -> where

    def __post_init__(self) -> None:
        """
        Raises:
            InvalidRequest: the job's template cannot be read, or its model cannot do what is asked.
            Unavailable: its output format cannot be checked now.
        """
        check_job(self.options.params, self.model.card)
        self.formats.check_job(self.options.params)
        self.prompts = Prompts(self.model, self.options, self.rendered_at)
        self.scores = Scores(self.model)

    @property
    def prep(self) -> JobPrep:
        """How the job's prompts are made, and what its results have; {} for nothing special."""
        prep = prep_of(self.options)
        self.columns.add_to(prep)
        if self.formats.any_json:
            prep["json_output"] = True
        if self.prompts.any_thoughts:
            prep["reasoning"] = True
        if self.scores.any_labels:
            prep["choices"] = True
        if self.scores.any_continuations:
            prep["continuations"] = True
        return prep

    def accept(self, drafts: Iterable[Draft]) -> Iterator[Record]:
        """Records for the store, as long as nothing is wrong; after the first fault only more
        faults are looked for.

        Raises:
            TooLarge: more items than a job may have.
            InvalidRequest: the template names a column that the table does not have.
        """
        source = self._one_by_one(drafts)
        empty = True
        while first := next(source, None):
            empty = False
            records = self._accept_chunk(chain([first], islice(source, CHUNK - 1)))
            if len(self.faults) >= MOST_FAULTS:
                del self.faults[MOST_FAULTS:]
                return
            if not self.faults:
                yield from records
            give_way()
        if empty:
            self.faults.append(
                {"code": "empty_job", "message": "a job needs at least one item", "field": "items"}
            )

    def _one_by_one(self, drafts: Iterable[Draft]) -> Iterator[Draft]:
        """No more drafts than a job may have. Each is taken when the one before it was rendered, so
        that a chunk of slow ones keeps neither other requests waiting nor the drafts' source from
        renewing its claim."""
        began = time.monotonic()
        for count, draft in enumerate(drafts, start=1):
            if count > self.limits.max_items:
                raise TooLarge(
                    f"a job takes at most {self.limits.max_items:,} items; split it", field="items"
                )
            if time.monotonic() - began > LONG:
                give_way()
                began = time.monotonic()
            yield draft

    def know(self, custom_ids: Iterable[tuple[str, str]]) -> None:
        """Names that are taken, each with where."""
        self._seen.update(custom_ids)

    def refuse_taken(self, is_taken: Callable[[str], bool]) -> NoReturn:
        """Refuse what was accepted: some of its custom_ids turned out to be taken by the job.

        Raises:
            InvalidRequest: naming each.
        """
        for custom_id, where in self._seen.items():
            if is_taken(custom_id) and len(self.faults) < MOST_FAULTS:
                message = f"custom_id {custom_id[:64]!r} was used already, at the job"
                self.faults.append(
                    {
                        "code": "duplicate_custom_id",
                        "message": message,
                        "field": f"{where}.custom_id",
                    }
                )
        self.raise_faults()
        raise AssertionError("no custom_id of these is taken")

    def raise_faults(self) -> None:
        if self.faults:
            raise refusal(self.faults)

    def _accept_chunk(self, drafts: Iterable[Draft]) -> list[Record]:
        chunk: list[Draft] = []
        read: list[_Read] = []
        # By place in the chunk, as the faults are, so that both keep the order of the drafts.
        records: dict[int, Record] = {}
        faults: list[tuple[int, ErrorDict]] = []
        size = 0

        def refuse(place: int, error: Fault | ValidationError) -> None:
            found = error_dicts(error, chunk[place], self.options.params.model_fields_set)
            stays = self.refused_stay or keeps_bad_rows(self.options) or chunk[place].stays
            if stays and not isinstance(error, Broken):
                records[place] = self._refused(chunk[place], found[0])
            else:
                # What holds for all prompts alike is told once.
                known = [*self.faults, *(each for _, each in faults)]
                faults.extend((place, each) for each in found if each not in known)

        for place, draft in enumerate(drafts):
            chunk.append(draft)
            try:
                item = self.read(draft)
                asked = self.prompts.ask(item)
                read.append(_Read(place, draft, item, asked))
            except (Fault, ValidationError) as error:
                refuse(place, error)
            else:
                size += len(asked.text or "") + (size_of(item) if item.vars else 0)
                if size > CHUNK_CHARACTERS:
                    break
        counts = self.prompts.counts([each.asked for each in read])
        for each, tokens in zip(read, counts, strict=True):
            try:
                record = self.record(each.item, tokens, each.draft)
                record[0].update(self.prompts.kept(each.asked))
                records[each.place] = record
            except (Fault, ValidationError) as error:
                refuse(each.place, error)
        self.faults += [each for _, each in sorted(faults, key=lambda found: found[0])]
        return [records[place] for place in sorted(records)]

    def read(self, draft: Draft) -> Item:
        """The draft as an item that is valid in itself.

        Raises:
            Fault, ValidationError: it is none.
            InvalidRequest: it is of a table without a column that the template names.
        """
        if draft.columns is not None and self.columns.header(draft):
            self.prompts.refuse_unknown(self.columns.names)
        if draft.refused and (custom_id := given_id(draft.value)) is not None:
            self._know(custom_id, draft)
        with_template = self.prompts.variables is not None
        item = read_item(draft, with_template)
        if with_template:
            draft.names = {**OF_TEMPLATE, **draft.names}
        if item.vars:
            self.columns.item(item.vars, draft)
        if item.custom_id is not None:
            self._know(item.custom_id, draft)
        return item

    def _know(self, custom_id: str, draft: Draft) -> None:
        before = self._seen.setdefault(custom_id, draft.place)
        if before != draft.place:
            message = f"custom_id {custom_id[:64]!r} was used already, at {before}"
            kind = Fault if keeps_bad_rows(self.options) else Broken
            raise kind("duplicate_custom_id", "custom_id", message)

    def _refused(self, draft: Draft, why: ErrorDict) -> Record:
        """The record of an item that cannot be run: its worker hands it in as failed."""
        self.totals.items += 1
        self.stayed += [why] if len(self.stayed) < MOST_FAULTS else []
        custom_id = given_id(draft.value)
        if custom_id is not None and self._seen.setdefault(custom_id, draft.place) != draft.place:
            custom_id = None  # another item's
        if keeps_bad_rows(self.options):
            why = {**why, "message": f"{draft.place}: {why['message']}"}
        side = refused_side(draft.value, draft.beside)
        self.columns.item(side and side.get("vars"), draft)
        return refused_record(custom_id, why), side

    def record(self, item: Item, tokens: int | None, draft: Draft) -> Record:
        """What the store keeps of an item: only what was given, and max_tokens where its default
        does not fit.

        Raises:
            Fault: it does not fit the model or the limits.
        """
        own = item.params.model_dump(mode="json", exclude_unset=True) if item.params else {}
        params = self.options.params.under(item.params) if item.params else self.options.params
        card, most = self.model.card, self.limits.max_item_tokens
        scored, beside, max_tokens = self.scores.of(item, params), draft.beside, 0
        if item.continuations is None:
            default = draft.default_max_tokens or self.default_max_tokens
            max_tokens = fitting_max_tokens(params, tokens, card.context, default)
            if max_tokens != params.max_tokens:
                own["max_tokens"] = max_tokens
                if self.notes_fitted:
                    beside = {**beside, "default_max_tokens": default or params.max_tokens}
            check_size(params, max_tokens, tokens or 0, card, most)
        check_model(item, params, card)
        if scored is not None:
            check_fit(scored, max_tokens, tokens, card, most)
            self.totals.add_scored(params, scored, tokens or 0, bool(item.stream))
        else:
            self.formats.check_item(item, params, max_tokens)
            self.totals.add(params, max_tokens, tokens or 0, bool(item.stream))
        if self.totals.streams > MOST_STREAMS:
            message = (
                f"a job streams at most {MOST_STREAMS} continuations; leave stream out of "
                "the other items"
            )
            raise Fault("out_of_range", "stream", message)
        record = item_record(item, own, self.prompts.variables)
        if "vars" not in record and (self.options.clean or self.options.truncate):
            record["prepared"] = True
        record.update(draft.kept)
        self.totals.referenced += has_reference(item, self.options)
        return record, side_record(item, self.prompts.variables or (), beside)
