"""Finds out what each column of a table (CSV or Parquet) holds: prompts, custom_ids, decoding
parameters or metadata."""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from common.errors import InvalidRequest
from common.params import OTHER_NAMES, SamplingParams, whole
from common.types import JsonObject
from web.intake.strict_json import BadJson, parse
from web.intake.validation_messages import unknown_name

MOST_COLUMNS = 1000  # a table with more is refused before anything else is done with it
MOST_METADATA = 16
SETTINGS = frozenset(SamplingParams.model_fields)
# A cell of these is one string unless it is a JSON list.
TEXT_SETTINGS = frozenset({"stop", "bad_words"})
# Other columns that may hold the prompts, in a table without a column of the prompts' name.
INPUTS = ("messages", "prompt_ids")
FLAGS = {"true": True, "false": False}  # as JSON, Python and spreadsheets write them, lowered
NOTHING = ("", "nan")  # how an empty cell among numbers is written
WHOLE = re.compile(
    r"(-?\d{1,18})\.0+"
)  # a whole number in a column with empty cells, as pandas writes it


class Columns:
    """The columns of a table. It has the prompts' column, else one of `INPUTS`."""

    def __init__(self, names: Sequence[str], prompt_column: str):
        self.names = list(names)
        self.prompt = next((name for name in (prompt_column, *INPUTS) if name in self.names), None)
        self.input = (
            self.prompt if self.prompt in INPUTS and self.prompt != prompt_column else "prompt"
        )
        self._refuse_without_prompt(prompt_column)
        self._refuse_repeated()
        self._refuse_metadata([name for name in self.names if self.is_metadata(name)])

    def _refuse_without_prompt(self, wanted: str) -> None:
        if self.prompt is None:
            message = (
                f"there is no column {wanted[:64]!r}; name the prompts' column as prompt_column: "
                f"the file has {', '.join(name[:64] for name in self.names[:20])[:300]}"
            )
            raise InvalidRequest(message, code="missing_column", field="prompt_column")

    def _refuse_repeated(self) -> None:
        if repeated := next(
            (name for name, count in Counter(self.names).items() if count > 1), None
        ):
            raise InvalidRequest(
                f"several columns are named {repeated[:64]!r}", code="invalid_header", field="file"
            )

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
                message = (
                    f"the column {name[:64]} {unknown_name(name, SamplingParams.model_fields)}"
                )
                raise InvalidRequest(message, code="unknown_field", field="file")

    def is_metadata(self, name: str) -> bool:
        return name not in (self.prompt, "custom_id") and name not in SETTINGS

    def item(self, cells: Sequence[Any]) -> JsonObject:
        """An item of the cells of a row, which are values of JSON. Empty cells of parameters and
        ids count as not given."""
        found: JsonObject = {}
        params, metadata = {}, {}
        for name, value in zip(self.names, cells, strict=True):
            if name == self.prompt:
                found[self.input] = _text(value) if self.input == "prompt" else _value(value)
            elif name == "custom_id":
                if value not in (None, ""):
                    found["custom_id"] = _identifier(value)
            elif name in SETTINGS:
                if (setting := _setting(name, value)) is not None:
                    params[name] = setting
            else:
                metadata[name] = value
        return (
            found
            | ({"params": params} if params else {})
            | ({"metadata": metadata} if metadata else {})
        )


def _text(value: Any) -> str | None:
    """A cell as text: numbers and flags as JSON has them."""
    return (
        value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    )


def _identifier(value: Any) -> str | None:
    """A custom_id. The numbers 1 and 1.0 and the text 1.0 are the same: in a column with empty
    cells whole numbers are written that way."""
    text = _text(value)
    match = WHOLE.fullmatch(text or "")
    return match[1] if match else text


def _setting(name: str, value: Any) -> Any:
    """A cell of a decoding parameter as a value of JSON; None where nothing is given."""
    if isinstance(value, str):
        if name in TEXT_SETTINGS and not value.startswith("["):
            return value or None
        if value.strip().lower() in NOTHING:
            return None
        if SamplingParams.model_fields[name].annotation is bool:
            return FLAGS.get(value.strip().lower(), value)
    return _value(value)


def _value(value: Any) -> Any:
    """A cell that holds a list or an object, perhaps as JSON in text. In a Parquet file every
    object has every key, and those that were not given are null."""
    if not isinstance(value, str):
        return value
    try:
        return _given(parse(value))
    except BadJson:
        return value


def _given(value: Any) -> Any:
    if isinstance(value, list):
        return [_given(inner) for inner in whole(value)]
    if isinstance(value, dict):
        return {name: _given(inner) for name, inner in value.items() if inner is not None}
    return value
