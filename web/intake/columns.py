"""Finds out what each column of a table holds by its name, where the job has neither a template nor
a mapping: prompts, custom_ids, references, decoding parameters or metadata."""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from common.errors import InvalidRequest
from common.params import CELLS, OBJECTS, OTHER_NAMES, SamplingParams, whole
from common.references import reference_of
from common.types import JsonObject
from web.intake.strict_json import BadJson, parse
from web.intake.validation_messages import unknown_name

MOST_COLUMNS = 1000  # a table with more is refused before anything else is done with it
MOST_METADATA = 16
SETTINGS = frozenset(CELLS)
# A cell of these is one string unless it is a JSON list.
TEXT_SETTINGS = frozenset({"stop", "bad_words"})
# Other columns that may hold the prompts, in a table without a column of the prompts' name.
INPUTS = ("messages", "prompt_ids")
PROMPT = "prompt"
CUSTOM_ID, REFERENCE = "custom_id", "reference"
FLAGS = {"true": True, "false": False}  # as JSON, Python and spreadsheets write them, lowered
NOTHING = ("", "nan")  # how an empty cell among numbers is written
WHOLE = re.compile(
    r"(-?\d{1,18})\.0+"
)  # a whole number in a column with empty cells, as pandas writes it


class MissingColumn(InvalidRequest):
    """A table has no column of the name that an option gives, or of the usual name of prompts.

    `option` is the one that names it (`columns.custom_id`), None if none does; `column` is its
    name, and `names` are those that the table has: for callers whose users have other words for
    them than the API.
    """

    def __init__(self, option: str | None, column: str, names: Iterable[str]):
        self.option, self.column, self.names = option, column, list(names)
        had = f"the file has {listed(self.names)}"
        if option:
            message = f"there is no column {column[:64]!r}, which {option} names: {had}"
        else:
            message = (
                f"there is no column {column[:64]!r}; name the column of the prompts as "
                f"columns.prompt (or prompt_column), or give a template: {had}"
            )
        super().__init__(message, code="missing_column", field=option or "columns.prompt")


def listed(names: Sequence[str]) -> str:
    """The first names of a table's columns, within what fits into a message."""
    shown = ", ".join(name[:64] or "one without a name" for name in names[:20])[:300]
    return shown + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def refuse_repeated(names: Sequence[str]) -> None:
    """Refuse names that several columns have, with the places of the first of them."""
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        name = repeated[0]
        places = [str(at) for at, each in enumerate(names, start=1) if each == name][:20]
        others = f"; the same goes for {listed(repeated[1:])}" if repeated[1:] else ""
        message = f"several columns are named {name[:64]!r} ({', '.join(places)}){others}"
        raise InvalidRequest(message, code="invalid_header", field="file")


class Columns:
    """The columns of a table. It has the prompts' column, else one of `INPUTS`."""

    def __init__(self, names: Sequence[str], prompt_column: str | None):
        self.names = list(names)
        wanted = prompt_column or PROMPT
        self.prompt = next((name for name in (wanted, *INPUTS) if name in self.names), None)
        self.input = self.prompt if self.prompt in INPUTS and self.prompt != wanted else PROMPT
        if self.prompt is None:
            raise MissingColumn("prompt_column" if prompt_column else None, wanted, self.names)
        refuse_repeated(self.names)
        self._refuse_metadata([name for name in self.names if self.is_metadata(name)])

    def _refuse_metadata(self, metadata: Sequence[str]) -> None:
        if len(metadata) > MOST_METADATA:
            message = (
                "columns that are no setting are kept as the items' metadata, at most "
                f"{MOST_METADATA}; "
                f"the file has {len(metadata)}"
            )
            raise InvalidRequest(message, code="invalid_header", field="file")
        for name in metadata:
            if name in OTHER_NAMES or difflib.get_close_matches(name, SETTINGS, n=1, cutoff=0.85):
                message = f"the column {name[:64]} {unknown_name(name, CELLS)}"
                raise InvalidRequest(message, code="unknown_field", field="file")

    def is_metadata(self, name: str) -> bool:
        return name not in (self.prompt, CUSTOM_ID, REFERENCE) and name not in SETTINGS

    def item(self, cells: Sequence[Any]) -> JsonObject:
        """An item of the cells of a row, which are values of JSON. Empty cells of parameters, ids
        and references count as not given."""
        found: JsonObject = {}
        params, metadata = {}, {}
        for name, value in zip(self.names, cells, strict=True):
            if name == self.prompt:
                found[self.input] = (
                    cell_text(value) if self.input == "prompt" else cell_value(value)
                )
            elif name == CUSTOM_ID:
                if value not in (None, ""):
                    found[CUSTOM_ID] = identifier(value)
            elif name == REFERENCE:
                if (reference := reference_of(value)) is not None:
                    found[REFERENCE] = reference
            elif name in SETTINGS:
                if (given := setting(name, value)) is not None:
                    params[name] = given
            else:
                metadata[name] = value
        return (
            found
            | ({"params": params} if params else {})
            | ({"metadata": metadata} if metadata else {})
        )


def cell_text(value: Any) -> str | None:
    """A cell as text: numbers and flags as JSON has them."""
    return (
        value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    )


def identifier(value: Any) -> str | None:
    """A custom_id. The numbers 1 and 1.0 and the text 1.0 are the same: in a column with empty
    cells whole numbers are written that way."""
    text = cell_text(value)
    match = WHOLE.fullmatch(text or "")
    return match[1] if match else text


def setting(name: str, value: Any) -> Any:
    """A cell of a decoding parameter as a value of JSON; None where nothing is given."""
    if isinstance(value, str):
        if name in TEXT_SETTINGS and not value.startswith("["):
            return value or None
        if value.strip().lower() in NOTHING:
            return None
        if SamplingParams.model_fields[name].annotation is bool:
            return FLAGS.get(value.strip().lower(), value)
        if name in OBJECTS:
            return _parsed(value)  # a null may mean something in a schema
    return cell_value(value)


def cell_value(value: Any) -> Any:
    """A cell that holds a list or an object, perhaps as JSON in text. In a Parquet file every
    object has every key, and those that were not given are null."""
    return _given(_parsed(value) if isinstance(value, str) else value)


def _parsed(value: str) -> Any:
    """The value of JSON that is in a cell; the text itself where it is none."""
    try:
        return parse(value)
    except BadJson:
        return value


def _given(value: Any) -> Any:
    if isinstance(value, list):
        return [_given(inner) for inner in whole(value)]
    if isinstance(value, dict):
        return {name: _given(inner) for name, inner in value.items() if inner is not None}
    return value
