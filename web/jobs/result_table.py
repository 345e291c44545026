"""Results as a table, a row for each output: which columns it has, and their cells.

Of a job whose items have variables these come first, under their own names and in their own order;
our columns follow under names that none of them has."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from common.cooperate import Steps
from common.result_row import Row
from web.jobs.item_views import Whole, WholeItems
from web.jobs.output_fields import (
    ColumnType,
    OutputFields,
    field_text,
    fields_of,
    typed_cell,
)
from web.schemas.queries import ResultsQuery

Batches = Iterable[list[Whole]]
COLUMNS = (
    "index",
    "custom_id",
    "status",
    "output",
    "text",
    "finish_reason",
    "token_count",
    "prompt_tokens",
    "completion_tokens",
    "seed",
    "model",
    "error_code",
    "error_message",
)
# Behind columns of the input, among which the custom_id mostly is.
BESIDE = (*(name for name in COLUMNS if name != "custom_id"), "custom_id")
INTEGERS = frozenset(
    {
        *("index", "output", "token_count", "prompt_tokens", "completion_tokens", "seed"),
        "truncated_tokens",
    }
)
OUTPUT = ("output", "text", "finish_reason", "token_count", "json_valid", "reasoning", "choices")
# Columns that come with the row itself.
SCORED = ("json_valid", "reasoning", "choices", "continuations")
# A spreadsheet would run these, some after removing a character.
FORMULA = ("=", "+", "-", "@", "\t", "\r")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
BOM = "\ufeff"
Cells = dict[str, str | int | float | None]
SCORE = "score_"  # before the name of a score
FIELD = "output."  # before the name of a field of an output


class ResultTable:
    """The columns of a job's results: `inputs` are the input's, `ours` what we add, each with its
    name in the table; last the `fields` of the outputs, if these are to be columns."""

    def __init__(self, items: WholeItems, wanted: ResultsQuery, fields: OutputFields | None = None):
        self._items = items
        self._fields = fields.columns() if fields else {}
        self.inputs: Sequence[str] = items.prep.get("columns", [])
        more = {
            "json_valid": "json_output" in items.prep,
            "reasoning": "reasoning" in items.prep,
            "choices": "choices" in items.prep,
            "continuations": "continuations" in items.prep,
            "truncated_tokens": "truncate" in items.prep,
            "retried_in": wanted.merge is not None,
            "rendered": wanted.renders,
        }
        more_names = [name for name, there in more.items() if there]
        self._beside = [name for name in more_names if name not in SCORED]
        self._scores = list(items.scores.names.values()) if items.scores else []
        more_names += [SCORE + name for name in self._scores]
        names = [*(BESIDE if self.inputs else COLUMNS), *more_names]
        names += [FIELD + name for name in self._fields]
        prefix = free_prefix(self.inputs) if self.inputs else ""
        self.ours = {name: prefix + name for name in names}

    def values(self, whole: Whole) -> list[Any]:
        """The item's values of the input's columns, of JSON; None for those it does not have."""
        if not self.inputs:
            return []
        variables = self._items.variables(whole)
        return [variables.get(name) for name in self.inputs]

    def cells(self, whole: Whole, typed: bool = False) -> list[Cells]:
        """Our cells: a row per output; one without text where an item has none. Fields of outputs
        are text as it was generated, or `typed` as their columns are."""
        shared = _shared(whole.row)
        if self._beside:
            beside: Any = self._items.beside(whole)
            shared |= {name: beside.get(name) for name in self._beside}
        if self._scores:
            scores = self._items.scores_of(whole)
            shared |= {SCORE + name: scores[name] for name in self._scores}
        return [shared | output | self._of_fields(output, typed) for output in _outputs(whole.row)]

    def _of_fields(self, output: Cells, typed: bool) -> Cells:
        if not self._fields:
            return {}
        found = fields_of(str(output["text"] or ""))
        return {
            FIELD + name: typed_cell(found.get(name), kind)
            if typed
            else field_text(found.get(name))
            for name, kind in self._fields.items()
        }

    def column_type(self, name: str) -> ColumnType:
        """Arrow's type of a column of ours."""
        if name.startswith(FIELD):
            return self._fields[name.removeprefix(FIELD)]
        if name == "json_valid":
            return "bool"
        if name.startswith(SCORE):
            return "double"
        return "int64" if name in INTEGERS else "string"


def free_prefix(names: Iterable[str]) -> str:
    """The first of `pm_`, `pm2_`, … with which no name begins."""
    taken = {match[0] for name in names if (match := re.match(r"pm\d*_", name))}
    number = 2
    prefix = "pm_"
    while prefix in taken:
        prefix, number = f"pm{number}_", number + 1
    return prefix


def csv_pieces(batches: Batches, table: ResultTable, bom: bool, guard: bool) -> Iterator[bytes]:
    """The table as CSV. Unless told not to, it has an apostrophe before what a spreadsheet would
    take for a formula."""
    page = io.StringIO(newline="")
    writer = csv.writer(page)
    checked = harmless if guard else str
    if bom:
        page.write(BOM)
    writer.writerow([*map(checked, table.inputs), *map(checked, table.ours.values())])
    steps, names = Steps(), tuple(table.ours)
    for batch in batches:
        for whole in batch:
            steps.step()
            given = [checked(cell_text(value)) for value in table.values(whole)]
            writer.writerows(
                given + [_csv_cell(cells[name], checked) for name in names]
                for cells in table.cells(whole)
            )
        yield page.getvalue().encode()
        page.seek(0)
        page.truncate()


def _csv_cell(cell: str | int | float | None, checked: Callable[[str], str]) -> object:
    if isinstance(cell, str):
        return checked(cell)
    return json.dumps(cell) if isinstance(cell, bool) else cell


def cell_text(value: Any) -> str:
    """A variable's value as it is written into a cell: text as it is, other values as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def harmless(cell: str) -> str:
    """The cell with an apostrophe in front if a spreadsheet would take its text for a formula. A
    plain number is none."""
    if not cell.startswith(FORMULA) or NUMBER.fullmatch(cell):
        return cell
    return "'" + cell


def _shared(row: Row) -> Cells:
    error, usage = row["error"], row["usage"]
    return {
        "index": row["index"],
        "custom_id": row["custom_id"],
        "status": row["status"],
        "seed": row["seed"],
        "model": row["model"],
        "prompt_tokens": usage["prompt_tokens"],
        "completion_tokens": usage["completion_tokens"],
        "error_code": error.get("code") if error else None,
        "error_message": error.get("message") if error else None,
        "continuations": _scores(row.get("continuations")),
    }


def _outputs(row: Row) -> list[Cells]:
    if not row["outputs"]:
        return [dict.fromkeys(OUTPUT)]
    return [
        {
            "output": place,
            "text": output["text"],
            "finish_reason": output["finish_reason"],
            "token_count": output["token_count"],
            "json_valid": output.get("json_valid"),
            "reasoning": output.get("reasoning"),
            "choices": _scores(output.get("choices")),
        }
        for place, output in enumerate(row["outputs"])
    ]


def _scores(scored: Sequence[Mapping[str, object]] | None) -> str | None:
    """Labels or continuations as JSON, without their tokens."""
    if scored is None:
        return None
    shown = [{name: each[name] for name in each if name != "logprobs"} for each in scored]
    return json.dumps(shown, ensure_ascii=False)
