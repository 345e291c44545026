"""Reads what a job's outputs are to be compared with, where it comes after the job: by custom_id,
or by position, as JSON or as an uploaded table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import IO, Any

from pydantic import ValidationError

from common.cooperate import Steps, give_way
from common.errors import ErrorDict, InvalidRequest, TooLarge
from common.references import reference_of
from common.store.job import Job
from web.intake.columns import identifier, listed
from web.intake.drafts import MALFORMED, Draft
from web.intake.json_lists import Entries, Pairs
from web.intake.reading import Reading
from web.intake.records import REFERENCE
from web.intake.uploads import read_items_file
from web.intake.validation_messages import MOST_FAULTS
from web.services.services import Services

MOST_BYTES = 64 * 2**20  # of all references of an evaluation, in UTF-8: they are held while read
PAGE = 500  # items whose custom_ids are read at a time
FIELD, CUSTOM_ID = "reference", "custom_id"  # the columns of a table of references
READING = Reading(templated=True)  # every column is data, and none need hold prompts


@dataclass(frozen=True)
class ReferenceFile:
    """An uploaded table; the end of its name says its format."""

    file: IO[bytes]
    filename: str


def read_references(services: Services, job: Job, sent: object) -> dict[int, list[str]]:
    """The references of the job's items, by index. Items without any are left out.

    `sent` is a `ReferenceFile`, or as JSON an object by custom_id or a list by position.

    Raises:
        InvalidRequest: with every problem found, up to 100, in `errors`.
        TooLarge: they have more than `MOST_BYTES`.
    """
    references = _References(services, job)
    if isinstance(sent, ReferenceFile):
        references.read_file(sent)
    elif isinstance(sent, Mapping | Pairs):
        references.read_object(sent.items() if isinstance(sent, Mapping) else sent)
    elif isinstance(sent, list | Entries):
        references.read_list(sent)
    else:
        message = "references must be an object by custom_id, or a list with an entry for each item"
        raise InvalidRequest(message, code="wrong_type", field="references")
    references.raise_faults()
    return references.found


class _References:
    """References as they are collected, and what is wrong with them."""

    def __init__(self, services: Services, job: Job):
        self._services = services
        self._job = job
        self.found: dict[int, list[str]] = {}
        self.faults: list[ErrorDict] = []
        self._lines: dict[int, int | None] = {}  # of the items that rows named
        self._size = 0
        self._steps = Steps()

    def read_object(self, sent: Any) -> None:
        for custom_id, value in sent:
            place = f"references.{custom_id[:64]}"
            index = self._index_of(custom_id, place)
            if index is not None:
                self._add(index, value, place)
            if self._is_enough():
                return
        self._refuse_none("references")

    def read_list(self, sent: list[Any] | Entries) -> None:
        if len(sent) != self._job.total:
            message = (
                f"references has {len(sent):,} {'entry' if len(sent) == 1 else 'entries'}, and "
                f"the job {self._job.total:,} items: "
                "give one for each, null for none, or an object by custom_id"
            )
            raise InvalidRequest(message, code="invalid_value", field="references")
        for index, value in enumerate(sent):
            self._add(index, value, f"references.{index}")
            if self._is_enough():
                return
        self._refuse_none("references")

    def read_file(self, sent: ReferenceFile) -> None:
        """A table with a column `reference`. With a column `custom_id` its rows are of the items
        with these ids, else of all items in their order."""
        by_id: bool | None = None  # as the first row that can be read says
        count = 0
        for count, draft in enumerate(read_items_file(sent.file, sent.filename, READING), 1):
            row = self._row(draft)
            if row is not None:
                by_id = CUSTOM_ID in row if by_id is None else by_id
                index = self._named(row, draft.line) if by_id else self._placed(row, count, draft)
                if index is not None:
                    self._add(index, _reference(row.get(FIELD), draft), FIELD, draft.line)
            if self._is_enough():
                return
        if not by_id and count != self._job.total and not self.faults:
            message = (
                f"the file has {count:,} row{'' if count == 1 else 's'}, and the job "
                f"{self._job.total:,} items: give one for each, or name the items in a column "
                f"{CUSTOM_ID}"
            )
            raise InvalidRequest(message, code="invalid_value", field="file")
        self._refuse_none("file")

    def raise_faults(self) -> None:
        if not self.faults:
            return
        first, count = self.faults[0], len(self.faults)
        where = f"line {first['line']}: " if "line" in first else ""
        more = f"{count} problems{' or more' if count == MOST_FAULTS else ''}; "
        message = f"{more if count > 1 else ''}{where}{first['message']}"
        code = first["code"] if count == 1 else None
        raise InvalidRequest(message, errors=self.faults, code=code)

    def _is_enough(self) -> bool:
        self._steps.step()
        return len(self.faults) >= MOST_FAULTS

    def _refuse_none(self, field: str) -> None:
        """Refuse references of which none is left, though nothing is wrong with them."""
        if self.found or self.faults:
            return
        said = f"no row has a text in {FIELD}" if field == "file" else f"{field} has no text"
        message = f"{said}; leave {field} out to use those of the job's items"
        raise InvalidRequest(message, code="missing_field", field=field)

    def _fault(self, code: str, message: str, field: str, line: int | None = None) -> None:
        entry: ErrorDict = {"code": code, "message": message, "field": field}
        if line is not None:
            entry["line"] = line
        self.faults.append(entry)

    def _add(self, index: int, value: Any, field: str, line: int | None = None) -> None:
        """Keep the references of an item; None for none."""
        if value is None:
            return
        try:
            REFERENCE.validate_python(value)
        except ValidationError as error:
            self._fault("invalid_value", f"{field} {error.errors()[0]['msg']}", field, line)
            return
        texts = [value] if isinstance(value, str) else value
        self._size += sum(len(text.encode(errors="surrogatepass")) for text in texts)
        if self._size > MOST_BYTES:
            message = (
                f"the references have more than {MOST_BYTES / 2**20:.0f} MiB together; "
                "leave out what is no reference, or shorten them"
            )
            raise TooLarge(message, field=field, line=line)
        self.found[index] = texts

    def _row(self, draft: Draft) -> Mapping[str, Any] | None:
        """The columns of a row; None for one that cannot be read, which is a fault."""
        value, refused = draft.value, draft.refused
        if draft.fault or refused:
            code = refused["code"] if refused else draft.code
            message = refused["message"] if refused else str(draft.fault)
            self._fault(code, message, "file", draft.line)
            return None
        if not isinstance(value, dict):
            message = 'a row must be an object, like {"custom_id": "a", "reference": "text"}'
            self._fault(MALFORMED, message, "file", draft.line)
            return None
        if draft.columns is not None and FIELD not in draft.columns:
            message = f"there is no column {FIELD!r}: the file has {listed(draft.columns)}"
            raise InvalidRequest(message, code="missing_column", field="file")
        return {**value, **value.get("vars", {})}

    def _placed(self, row: Mapping[str, Any], count: int, draft: Draft) -> int | None:
        """The index of the item of a row that names none; None where there is none."""
        if CUSTOM_ID in row:
            message = f"{CUSTOM_ID} is given here, and not in the first row: name all items or none"
            self._fault("invalid_value", message, CUSTOM_ID, draft.line)
        return count - 1 if count <= self._job.total else None

    def _named(self, row: Mapping[str, Any], line: int | None) -> int | None:
        """The index of the item that a row names; None for none, which is a fault."""
        given = row.get(CUSTOM_ID)
        if given in (None, ""):
            self._fault("missing_field", f"{CUSTOM_ID} is empty", CUSTOM_ID, line)
            return None
        custom_id = given if isinstance(given, str) else str(identifier(given))
        index = self._index_of(custom_id, CUSTOM_ID, line)
        if index is not None and (before := self._lines.setdefault(index, line)) != line:
            message = f"{CUSTOM_ID} {custom_id[:64]!r} was given already, at line {before}"
            self._fault("duplicate_custom_id", message, CUSTOM_ID, line)
            return None
        return index

    def _index_of(self, custom_id: str, field: str, line: int | None = None) -> int | None:
        index = self._indices.get(custom_id)
        if index is None:
            index = self._indices.get(identifier(custom_id) or "")
        if index is None:
            message = f"no item of the job has the {CUSTOM_ID} {custom_id[:64]!r}"
            if not self._indices:
                message += "; none has any: give references by position"
            self._fault("unknown_custom_id", message, field, line)
        return index

    @cached_property
    def _indices(self) -> dict[str, int]:
        return dict(self._custom_ids())

    def _custom_ids(self) -> Iterator[tuple[str, int]]:
        for first in range(0, self._job.total, PAGE):
            items = self._services.store.items(self._job.id, first, PAGE)
            for place, item in enumerate(items):
                if "custom_id" in item:
                    yield item["custom_id"], first + place
            give_way()


def _reference(given: Any, draft: Draft) -> Any:
    """What a row of a file gives as its reference. Only JSONL, which has no header, tells texts
    from all else: there a value is as in a JSON body."""
    return given if draft.columns is None else reference_of(given)
