"""How an uploaded table is read: its format, which columns mean something, and what becomes of bad
rows."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from common.given import refuse
from common.params import OTHER_NAMES, SamplingParams
from web.schemas.base import Schema

# A column without a name has the name "": data frames write their index that way.
ColumnName = Annotated[str, StringConstraints(max_length=256)]
Encoding = Literal["utf-8", "utf-16", "utf-16-le", "utf-16-be"]


def _known_params(columns: dict[str, str]) -> dict[str, str]:
    for name in columns:
        if name in OTHER_NAMES:
            raise refuse(f"has {name[:64]}, which is called {OTHER_NAMES[name]} here")
        if name not in SamplingParams.model_fields:
            known = ", ".join(SamplingParams.model_fields)
            raise refuse(f"has {name[:64]!r}, which is no decoding parameter; known are {known}")
    return columns


def _lowered(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _can_part_cells(delimiter: str) -> str:
    if delimiter in ('"', "\r", "\n", "\0"):
        raise refuse("cannot part cells; take a comma, a semicolon, a bar or a tab")
    return delimiter


Delimiter = Annotated[
    str, StringConstraints(min_length=1, max_length=1), AfterValidator(_can_part_cells)
]


class ColumnMapping(Schema):
    """Which columns of a table are more than data. Every column is a variable, mapped ones too."""

    custom_id: ColumnName | None = Field(None, description="The column of your own ids.")
    prompt: ColumnName | None = Field(
        None, description="The column of the prompts, where there is no template."
    )
    messages: ColumnName | None = Field(
        None, description="The column of chats, in place of prompts: lists, or JSON as text."
    )
    prompt_ids: ColumnName | None = Field(
        None, description="The column of token ids, in place of prompts: lists, or JSON as text."
    )
    reference: ColumnName | None = Field(
        None, description="The column of what the answers are to be compared with."
    )
    params: Annotated[dict[str, ColumnName], AfterValidator(_known_params)] = Field(
        {}, description="Decoding parameters, each with the column that has its values."
    )

    @model_validator(mode="after")
    def _one_input(self) -> ColumnMapping:
        names = ("prompt", "messages", "prompt_ids")
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) > 1:
            raise refuse(f"has {given[0]} and {given[1]}; an item has one of them")
        return self


class TableFormat(Schema):
    """What a table's file does not say itself, or says wrongly."""

    delimiter: Delimiter | None = Field(
        None, description="The character between the cells of a CSV file; found if not given."
    )
    encoding: Annotated[Encoding, BeforeValidator(_lowered)] | None = Field(
        None, description="The encoding of a text file; by its byte-order mark, else UTF-8."
    )
    sheet: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = Field(
        None, description="The sheet of an XLSX file; the first visible one if not given."
    )


class TableOptions(Schema):
    """How an uploaded file is read."""

    prompt_column: str = Field(
        "prompt", min_length=1, description="The same as columns.prompt, which goes before it."
    )
    columns: ColumnMapping | None = Field(
        None,
        description=(
            "What the columns mean. With it, or with a template, every column is a variable, and "
            "its name means nothing by itself."
        ),
    )
    format: TableFormat | None = Field(
        None, description="The file's format, where it is not as its name and content say."
    )
    bad_rows: Literal["refuse", "fail"] = Field(
        "refuse",
        description=(
            "What becomes of rows that cannot run: refuse the job and list them, or keep them as "
            "failed items."
        ),
    )
