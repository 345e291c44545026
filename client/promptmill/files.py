"""Tables in files: CSV, TSV, JSONL, Parquet and XLSX.

The first three are read by Python itself, Parquet by pyarrow or polars, XLSX by openpyxl, where
they are installed. The result is a new file of the same format, delimiter and encoding beside the
first one: `texts.csv` becomes `texts.output.csv`.
"""

from __future__ import annotations

import errno
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from promptmill.delimited import DelimitedFile, decoded, encoding_of, replaced, text_of
from promptmill.errors import TableError


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
    if to:
        _check_target(path, to)
    if not path.exists():
        where = "" if path.is_absolute() else f" in {Path.cwd()}"
        raise FileNotFoundError(errno.ENOENT, f"there is no such file{where}", str(path))
    if target.exists() and path.exists() and target.samefile(path):
        raise TableError(f"{path}: the result would overwrite its own table; name another to=")
    with _told_as_tables(path):
        return reader(path, target)


class JsonLinesFile:
    """JSONL: each line is an object of columns."""

    def __init__(self, path: Path, target: Path):
        self._target = target
        self._rows: list[dict[str, Any]] = []
        with path.open("rb") as file:
            self._encoding = encoding_of(file.read(3))
            file.seek(0)
            for number, line in enumerate(_lines(path, file, self._encoding), 1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line if isinstance(line, str) else line.decode("utf-8-sig"))
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
        with replaced(self._target) as partial, partial.open("w", encoding=self._encoding) as file:
            for row, *values in zip(self._rows, *added.values(), strict=True):
                row = row | dict(zip(added, values, strict=True))
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        return self._target


def _lines(path: Path, file: IO[bytes], encoding: str) -> Iterable[str | bytes]:
    """Of UTF-8 each by itself; of UTF-16, in which a byte says nothing, of all of the text."""
    if encoding.startswith("utf-8"):
        return file
    return io.StringIO(decoded(path, file.read(), encoding), newline="\n")


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
        with replaced(self._target) as partial:
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
        with replaced(self._target) as partial:
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
        for number, row in self._rows:
            self._check_row(path, number, row)

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self) -> Iterator[Mapping[str, Any]]:
        for _, row in self._rows:
            yield dict(zip(self.columns, row, strict=False))

    def _check_row(self, path: Path, number: int, row: Sequence[Any]) -> None:
        """Refuse what would be taken for no value: a cell without a column, and a formula that no
        spreadsheet program has computed."""
        for place, value in enumerate(row, 1):
            if place > len(self.columns) and value is not None:
                cell = self._sheet.cell(number, place).coordinate
                raise TableError(
                    f"{path}: the cell {cell} has a value, and its column has no name; name it in "
                    "the first row, or empty it"
                )
            if value is None and self._sheet.cell(number, place).data_type == "f":
                cell = self._sheet.cell(number, place).coordinate
                raise TableError(
                    f"{path}: the cell {cell} is a formula whose value the file does not have; "
                    "open the file in a spreadsheet program and save it"
                )

    def with_columns(self, added: Mapping[str, Sequence[Any]]) -> Path:
        from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

        for place, (name, values) in enumerate(added.items(), len(self.columns) + 1):
            self._sheet.cell(1, place, name)
            for (number, _), value in zip(self._rows, values, strict=True):
                cell = self._sheet.cell(number, place)
                cell.value = ILLEGAL_CHARACTERS_RE.sub("", text_of(value))
                cell.data_type = "s"  # also what begins with `=`
        with replaced(self._target) as partial:
            self._book.save(partial)
        return self._target


def _check_target(path: Path, target: Path) -> None:
    """Refuse a place where the result cannot be, before anything is generated."""
    if target.suffix.lower() != path.suffix.lower():
        raise TableError(
            f"to={str(target)!r}: the result has the format of the table; name it *{path.suffix}"
        )
    if not target.parent.is_dir():
        raise TableError(f"to={str(target)!r}: there is no folder {target.parent}; make it first")
    if target.is_dir():
        raise TableError(f"to={str(target)!r} is a folder; name a file in it")


@contextmanager
def _told_as_tables(path: Path) -> Iterator[None]:
    """What the libraries raise for a damaged file is a TableError."""
    try:
        yield
    except (TableError, FileNotFoundError, PermissionError, IsADirectoryError, MemoryError):
        raise
    except Exception as error:  # each library has its own, and they share no base
        kind = path.suffix[1:].upper()
        raise TableError(f"{path} cannot be read as {kind}; is it damaged? ({error})") from error


def _parquet(path: Path, target: Path) -> Any:
    for kind in (ArrowFile, PolarsFile):
        try:
            return kind(path, target)
        except ImportError:
            continue
    raise TableError(f"{path}: reading Parquet needs pyarrow or polars (pip install pyarrow)")
