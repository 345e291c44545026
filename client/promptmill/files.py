"""Tables in files: CSV, TSV, JSONL, Parquet and XLSX.

The first three are read by Python itself, Parquet by pyarrow or polars, XLSX by openpyxl, where
they are installed. The result is a new file of the same format, delimiter and encoding beside the
first one: `texts.csv` becomes `texts.output.csv`.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from promptmill.errors import TableError

DELIMITERS = ",;\t|"
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")


def open_file(path: Path, to: Path | None) -> Any:
    """The table in a file, by the suffix of its name; the result goes to `to`."""
    known: dict[str, Callable[[Path, Path], Any]] = {
        ".csv": DelimitedFile,
        ".tsv": DelimitedFile,
        ".jsonl": JsonLinesFile,
        ".ndjson": JsonLinesFile,
        ".parquet": _parquet,
        ".xlsx": XlsxFile,
    }
    reader = known.get(path.suffix.lower())
    if not reader:
        raise TableError(f"{path}: a table is a file named {', '.join(f'*{end}' for end in known)}")
    target = to or path.with_name(f"{path.stem}.output{path.suffix}")
    if target.exists() and path.exists() and target.samefile(path):
        raise TableError(f"{path}: the result would overwrite its own table; name another to=")
    return reader(path, target)


class DelimitedFile:
    """CSV or TSV: every cell is text exactly as written, and a cell of nothing has no value."""

    def __init__(self, path: Path, target: Path):
        self._target = target
        raw = path.read_bytes()
        self._encoding = next((name for mark, name in MARKS if raw.startswith(mark)), "utf-8")
        try:
            text = raw.decode(self._encoding)
        except UnicodeDecodeError as error:
            raise TableError(
                f"{path}: byte {error.start} is not {self._encoding}; save it as UTF-8"
            ) from None
        self._end = "\r\n" if "\r\n" in text[:65536] else "\n"
        self._delimiter = "\t" if path.suffix.lower() == ".tsv" else _delimiter(text)
        csv.field_size_limit(sys.maxsize)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=self._delimiter, strict=True)
        try:
            self.columns = next(reader, [])
            self._rows = [row for row in reader if row]
        except csv.Error as error:
            raise TableError(f"{path}, line {reader.line_num}: {error}") from None
        if not self.columns:
            raise TableError(f"{path} is empty; its first line must name the columns")
        for number, row in enumerate(self._rows, 1):
            if len(row) > len(self.columns):
                raise TableError(
                    f"{path}, row {number}: {len(row)} cells, and the header has "
                    f"{len(self.columns)}; is a quote missing?"
                )

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self) -> Iterator[Mapping[str, Any]]:
        for row in self._rows:
            yield dict(zip(self.columns, row, strict=False))  # a short row has no value there

    def with_columns(self, added: Mapping[str, Sequence[Any]]) -> Path:
        width = len(self.columns)
        with _replaced(self._target) as partial:
            file = partial.open("w", encoding=self._encoding, newline="")
            with file:
                writer = csv.writer(file, delimiter=self._delimiter, lineterminator=self._end)
                writer.writerow([*self.columns, *added])
                for row, *values in zip(self._rows, *added.values(), strict=True):
                    padded = row + [""] * (width - len(row))
                    writer.writerow([*padded, *(_cell(value) for value in values)])
        return self._target


class JsonLinesFile:
    """JSONL: each line is an object of columns."""

    def __init__(self, path: Path, target: Path):
        self._target = target
        self._rows: list[dict[str, Any]] = []
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line.decode("utf-8-sig"))
                except (ValueError, RecursionError) as error:
                    raise TableError(f"{path}, line {number}: is no JSON: {error}") from None
                if not isinstance(row, dict):
                    raise TableError(f"{path}, line {number}: must be an object of columns")
                self._rows.append(row)
        self.columns = list(dict.fromkeys(name for row in self._rows for name in row))

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self) -> Iterator[Mapping[str, Any]]:
        yield from self._rows

    def with_columns(self, added: Mapping[str, Sequence[Any]]) -> Path:
        with _replaced(self._target) as partial, partial.open("w", encoding="utf-8") as file:
            for row, *values in zip(self._rows, *added.values(), strict=True):
                row = row | dict(zip(added, values, strict=True))
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        return self._target


class ArrowFile:
    """Parquet, read and written by pyarrow: every column keeps its type."""

    def __init__(self, path: Path, target: Path):
        import pyarrow.parquet as parquet

        self._target = target
        self._parquet = parquet
        self._table = parquet.read_table(path)
        self.columns = list(self._table.column_names)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def rows(self) -> Iterator[Mapping[str, Any]]:
        for batch in self._table.to_batches(1000):
            yield from batch.to_pylist()

    def with_columns(self, added: Mapping[str, Sequence[Any]]) -> Path:
        import pyarrow as pa

        text = pa.string()
        table = self._table
        for name, values in added.items():
            kind = pa.list_(text) if any(isinstance(v, list) for v in values) else text
            table = table.append_column(name, pa.array(list(values), kind))
        with _replaced(self._target) as partial:
            self._parquet.write_table(table, partial)
        return self._target


class PolarsFile:
    """Parquet, read and written by polars."""

    def __init__(self, path: Path, target: Path):
        import polars as pl

        from promptmill.tables import PolarsTable

        self._target = target
        self._table = PolarsTable(pl.read_parquet(path))
        self.columns = self._table.columns

    def __len__(self) -> int:
        return len(self._table)

    def rows(self) -> Iterator[Mapping[str, Any]]:
        return self._table.rows()

    def with_columns(self, added: Mapping[str, Sequence[Any]]) -> Path:
        with _replaced(self._target) as partial:
            self._table.with_columns(added).write_parquet(partial)
        return self._target


class XlsxFile:
    """XLSX: the first sheet, whose first row names the columns. The result is the same workbook."""

    def __init__(self, path: Path, target: Path):
        try:
            import openpyxl
        except ImportError:
            raise TableError(
                f"{path}: reading XLSX needs openpyxl (pip install openpyxl); or save it as CSV"
            ) from None
        self._target = target
        self._book = openpyxl.load_workbook(path)
        values = openpyxl.load_workbook(path, data_only=True)  # what formulas came to
        self._sheet = self._book.worksheets[0]
        header, *rows = list(values.worksheets[0].iter_rows(values_only=True)) or [()]
        while header and header[-1] is None:
            header = header[:-1]
        self.columns = ["" if name is None else str(name) for name in header]
        if not self.columns:
            raise TableError(f"{path} is empty; its first row must name the columns")
        self._rows = [
            (number, row) for number, row in enumerate(rows, 2) if any(v is not None for v in row)
        ]

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self) -> Iterator[Mapping[str, Any]]:
        for _, row in self._rows:
            yield dict(zip(self.columns, row, strict=False))

    def with_columns(self, added: Mapping[str, Sequence[Any]]) -> Path:
        from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

        for place, (name, values) in enumerate(added.items(), len(self.columns) + 1):
            self._sheet.cell(1, place, name)
            for (number, _), value in zip(self._rows, values, strict=True):
                cell = self._sheet.cell(number, place)
                cell.value = ILLEGAL_CHARACTERS_RE.sub("", _text(value))
                cell.data_type = "s"  # also what begins with `=`
        with _replaced(self._target) as partial:
            self._book.save(partial)
        return self._target


def _parquet(path: Path, target: Path) -> Any:
    for kind in (ArrowFile, PolarsFile):
        try:
            return kind(path, target)
        except ImportError:
            continue
    raise TableError(f"{path}: reading Parquet needs pyarrow or polars (pip install pyarrow)")


def _delimiter(text: str) -> str:
    """The one that the header has most of, outside of quotes."""
    header = re.sub(r'"[^"]*"', "", text[:65536]).partition("\n")[0]
    return max(DELIMITERS, key=header.count)


def _text(value: Any) -> str:
    """An output as the text of a cell; several outputs are a JSON list."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cell(value: Any) -> str:
    """The text of a cell that no spreadsheet takes for a formula, as the server's CSV has it."""
    text = _text(value)
    risky = text.startswith(("=", "+", "-", "@", "\t", "\r")) and not NUMBER.fullmatch(text)
    return f"'{text}" if risky else text


@contextmanager
def _replaced(target: Path) -> Iterator[Path]:
    """A path to write to, which takes the target's place when all is written."""
    partial = target.with_name(f".{target.name}.partial")
    try:
        yield partial
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
