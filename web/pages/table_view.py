"""What the form shows of the file that it holds: its format, its columns, and its first rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from common.params import CELLS
from common.store.files import StoredFile
from web.intake.inspection import inspect_table
from web.pages.preparation import can_be_named, typed_format
from web.schemas.requests import INPUTS
from web.schemas.tables import TableFormat
from web.services.services import Services

CLIP = 200  # characters of a cell
NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


@dataclass(frozen=True)
class TableView:
    """`names` are its columns, none for a file of items; `rows` its first rows, as texts. What was
    found of `delimiter`, `encoding` and `sheets` is empty where there is no such thing."""

    kind: str
    names: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    delimiter: str = ""
    encoding: str = ""
    sheet: str = ""
    sheets: list[str] = field(default_factory=list)

    @property
    def words(self) -> str:
        """The format that was found."""
        parts = [self.kind.upper()]
        if self.delimiter:
            named = NAMES.get(self.delimiter, repr(self.delimiter))
            parts.append(f"cells parted by {named}")
        parts += [self.encoding.upper(), self.sheet and f"sheet {self.sheet}"]
        if self.names:
            parts.append(f"{len(self.names)} column{'s' if len(self.names) != 1 else ''}")
        return ", ".join(part for part in parts if part)

    @property
    def settings(self) -> list[str]:
        """The columns that are named like decoding parameters."""
        return [name for name in self.names if name in CELLS]

    @property
    def chips(self) -> list[tuple[str, bool]]:
        """Each column, and whether a template can name it."""
        return [(name, can_be_named(name)) for name in self.names]


def look_at(services: Services, file: StoredFile, typed: Mapping[str, str]) -> TableView:
    """
    Raises:
        InvalidRequest: it is no file of a known format, or its header cannot be used.
        Unavailable: other files are being read, as many as may be.
    """
    try:
        wanted = TableFormat.model_validate(typed_format(typed))
    except ValidationError:  # which the form's own errors say
        wanted = None
    found = inspect_table(services.files.open(file.id), file.filename, wanted)
    are_items = found.format == "jsonl" and not set(found.columns).isdisjoint(INPUTS)
    names = [] if are_items else found.columns
    return TableView(
        kind=found.format,
        names=names,
        rows=[[row.fault] if row.fault else _cells(row.cells, names) for row in found.rows],
        delimiter=found.delimiter or "",
        encoding=found.encoding or "",
        sheet=found.sheet or "",
        sheets=found.sheets,
    )


def _cells(cells: Mapping[str, Any], names: list[str]) -> list[str]:
    return [_text(cells.get(name)) for name in names]


def _text(cell: Any) -> str:
    """The beginning of a cell."""
    text = cell if isinstance(cell, str) else "" if cell is None else json.dumps(cell, default=str)
    return text if len(text) <= CLIP else f"{text[:CLIP]}…"
