"""Makes a draft of each row of a table, whatever its format: by the columns' names, or, with a
template or a mapping, with every column as a variable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from pydantic import TypeAdapter, ValidationError

from common.errors import ErrorDict, InvalidRequest
from common.references import reference_of
from common.types import JsonObject
from web.intake.columns import (
    PROMPT,
    Columns,
    MissingColumn,
    cell_text,
    cell_value,
    identifier,
    refuse_repeated,
    setting,
)
from web.intake.drafts import MALFORMED, Draft
from web.intake.reading import Reading
from web.schemas.preparation import LONGEST_NAME, MOST_VARS, Reference

REFERENCE: TypeAdapter[Any] = TypeAdapter(Reference)
# What a column of prompts cannot hold, by the kinds of `parquet_reader.py`.
NO_PROMPTS = {
    "binary": "bytes, and prompts are text: write it as strings",
    "nested": (
        "lists or objects, and prompts are text: a chat is a column named messages, or the one "
        "that columns.messages names"
    ),
}


class TableRows(Protocol):
    """Makes drafts of the rows of one table, whose columns have these `names`."""

    names: list[str]

    def draft(self, cells: Sequence[Any], line: int) -> Draft:
        """The draft of a row. A row that is not as wide as the header cannot run."""


def table_rows(
    names: Sequence[str],
    reading: Reading,
    kinds: Mapping[str, str] | None = None,
    types: Mapping[str, str] | None = None,
) -> TableRows:
    """`kinds` and `types` are those of a Parquet file's columns.

    Raises:
        InvalidRequest: the columns cannot be used.
    """
    rows = (
        DataRows(names, reading, types)
        if reading.is_data
        else NamedRows(names, reading.prompt_column)
    )
    kind = (kinds or {}).get(str(rows.prompt))
    if kind in NO_PROMPTS:
        message = f"the column {str(rows.prompt)[:64]} has {NO_PROMPTS[kind]}"
        raise InvalidRequest(message, code="invalid_header", field="file")
    return rows


def row_draft(rows: TableRows, row: list[Any] | Draft, line: int) -> Draft:
    """The draft of a row as a reader gives it: `FileReader.rows`."""
    if isinstance(row, list):
        return rows.draft(row, line)
    if row.refused is None:
        return row
    draft = rows.draft(row.value, line)
    draft.refused = row.refused
    return draft


class NamedRows:
    """The rows of a table whose columns' names say what they are. `prompt` is the column of
    prompts, if they are text."""

    def __init__(self, names: Sequence[str], prompt_column: str | None):
        self._columns = Columns(names, prompt_column)
        self.names = self._columns.names
        self.prompt = self._columns.prompt if self._columns.input == PROMPT else None

    def draft(self, cells: Sequence[Any], line: int) -> Draft:
        if len(cells) != len(self.names):
            row = dict(zip(self.names, cells, strict=False))
            named = {"custom_id": row["custom_id"]} if row.get("custom_id") else {}
            return Draft(named, line=line, refused=_wrong_width(cells, self.names))
        return Draft(self._columns.item(cells), line=line)


class DataRows:
    """The rows of a table whose columns are all variables, and more where they are mapped."""

    def __init__(
        self, names: Sequence[str], reading: Reading, types: Mapping[str, str] | None = None
    ):
        self.names, self._types = list(names), types
        refuse_names(self.names)
        mapping = RowMapping(reading)
        mapping.refuse_missing(self.names)
        self.prompt, self._mapping = mapping.prompt, mapping

    def draft(self, cells: Sequence[Any], line: int) -> Draft:
        row = dict(zip(self.names, cells, strict=False))
        if len(cells) != len(self.names):
            draft = self._mapping.draft(row, line)
            draft.refused = draft.refused or _wrong_width(cells, self.names)
        else:
            draft = self._mapping.draft(row, line)
        draft.columns, draft.types = self.names, self._types
        return draft


class RowMapping:
    """What the columns of a row mean besides being variables. Values are JSON's."""

    def __init__(self, reading: Reading):
        columns = reading.columns
        self.options = dict(reading.mapped)  # option -> column
        self.custom_id = columns.custom_id if columns else None
        self.reference = columns.reference if columns else None
        self.params = columns.params if columns else {}
        inputs = {name: getattr(columns, name, None) for name in ("messages", "prompt_ids")}
        self.inputs = {name: column for name, column in inputs.items() if column is not None}
        self.prompt = None if reading.templated else self._prompt(reading)
        if reading.templated:
            self._refuse_prompts(reading)

    def _prompt(self, reading: Reading) -> str | None:
        """The column of prompts of a table without a template."""
        if reading.columns and reading.columns.prompt is not None:
            return reading.columns.prompt
        if self.inputs:
            return None
        if reading.prompt_column:
            self.options["prompt_column"] = reading.prompt_column
        return reading.prompt_column or PROMPT

    def _refuse_prompts(self, reading: Reading) -> None:
        """A template makes the prompts: no column can have them as well."""
        given = [f"columns.{name}" for name in (PROMPT, *self.inputs)]
        given = [option for option in given if option in self.options]
        if reading.prompt_column:
            given.append("prompt_column")
        if given:
            message = f"{given[0]} names a column of prompts, but the template makes them: take one"
            raise InvalidRequest(message, code="invalid_value", field=given[0])

    def refuse_missing(self, names: Sequence[str]) -> None:
        """
        Raises:
            MissingColumn: a column that is mapped, or that of the prompts, is none of these.
        """
        for option, column in self.options.items():
            if column not in names:
                raise MissingColumn(option, column, names)
        if self.prompt is not None and self.prompt not in names:
            raise MissingColumn(None, self.prompt, names)

    def draft(self, row: JsonObject, line: int) -> Draft:
        value: JsonObject = {"vars": row}
        if self.custom_id is not None:
            given = row.get(self.custom_id)
            if given not in (None, ""):
                value["custom_id"] = given if isinstance(given, str) else identifier(given)
        if self.prompt is not None:
            given = row.get(self.prompt)
            is_nested = isinstance(given, list | dict)  # which is no text, and refused as none
            value["prompt"] = given if is_nested else cell_text(given)
        for name, column in self.inputs.items():
            value[name] = cell_value(row.get(column))
        params = {
            name: given
            for name, column in self.params.items()
            if (given := setting(name, row.get(column))) is not None
        }
        if params:
            value["params"] = params
        return Draft(value, line=line, refused=self._bad_reference(row))

    def _bad_reference(self, row: JsonObject) -> ErrorDict | None:
        """Why a row's reference cannot be one. It is kept as the variable that it is."""
        given = None if self.reference is None else reference_of(row.get(self.reference))
        if given is None:
            return None
        try:
            REFERENCE.validate_python(given)
        except ValidationError as error:
            message = f"the column {str(self.reference)[:64]} {error.errors()[0]['msg']}"
            return {"code": "invalid_value", "message": message, "field": "reference"}
        return None


def refuse_names(names: Sequence[str]) -> None:
    """Refuse a header whose names cannot be those of variables."""
    if len(names) > MOST_VARS:
        message = (
            f"the file has {len(names):,} columns; where columns are variables there may be "
            f"{MOST_VARS}"
        )
        raise InvalidRequest(message, code="invalid_header", field="file")
    refuse_repeated(names)
    for place, name in enumerate(names, start=1):
        if len(name) > LONGEST_NAME:
            message = (
                f"the name of column {place} has {len(name):,} characters; it may have "
                f"{LONGEST_NAME}"
            )
            raise InvalidRequest(message, code="invalid_header", field="file")


def _wrong_width(cells: Sequence[Any], names: Sequence[str]) -> ErrorDict:
    message = f"has {len(cells)} cells where the header has {len(names)}"
    return {"code": MALFORMED, "message": message}
