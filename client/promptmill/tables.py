"""Tables of every kind that `map` takes: their columns, their rows, and the same with a column
more.

pandas and polars are recognised without being imported: who has such a frame has the library.
Files are in `files.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from promptmill.errors import TableError
from promptmill.files import open_file

Column = Sequence[Any]  # one value a row
MOST_COLUMNS = 200  # variables of an item, as the server has it


class Table(Protocol):
    """A table: `columns` are the names in order, `len` the number of rows."""

    columns: list[str]

    def __len__(self) -> int: ...

    def rows(self) -> Iterator[Mapping[str, Any]]:
        """Each row as names and values."""
        ...

    def with_columns(self, added: Mapping[str, Column]) -> Any:
        """A copy with columns more, of the kind that the caller gave."""
        ...


def open_table(table: Any, to: str | Path | None = None) -> Table:
    """A caller's table. `to` is where the result of a file goes.

    Raises:
        TableError: it is none, or its columns have no names of their own.
    """
    if isinstance(table, str | Path):
        return named(open_file(Path(table), Path(to) if to else None))
    if to:
        raise TableError("to= is where the result of a file goes; this table is no file")
    library = _library(table)
    if library == "pandas":
        return named(PandasTable(table))
    if library == "polars":
        return named(PolarsTable(table))
    if isinstance(table, Sequence) and all(isinstance(row, Mapping) for row in table):
        return named(ListTable(table))
    raise TableError(
        "the table must be a pandas or polars DataFrame, a list of dictionaries, or the path of a "
        f"file, not {type(table).__name__}"
        + ("; call .collect() first" if type(table).__name__ == "LazyFrame" else "")
    )


def named(table: Table) -> Table:
    """The table, whose columns have different names, and are not more than a row may have."""
    if len(table.columns) > MOST_COLUMNS:
        raise TableError(
            f"the table has {len(table.columns)} columns; a row may have {MOST_COLUMNS}. Give the "
            "columns that are needed, such as table[['id', 'text']]"
        )
    seen: set[str] = set()
    for name in table.columns:
        if name in seen:
            raise TableError(f"the table has two columns named {name!r}; rename one of them")
        seen.add(name)
    return table


class PandasTable:
    def __init__(self, frame: Any):
        if getattr(frame.columns, "nlevels", 1) > 1:
            raise TableError("the table's columns have several levels; give them single names")
        self._frame = frame
        self.columns = [str(name) for name in frame.columns]

    def __len__(self) -> int:
        return len(self._frame)

    def rows(self) -> Iterator[Mapping[str, Any]]:
        for values in self._frame.itertuples(index=False, name=None):
            yield dict(zip(self.columns, values, strict=True))

    def with_columns(self, added: Mapping[str, Column]) -> Any:
        """The index stays; a row without a value has None."""
        import pandas as pd

        # The frame's own index, which may have a label twice; `object`, so that None stays None.
        columns = {
            name: pd.Series(list(values), index=self._frame.index, dtype=object)
            for name, values in added.items()
        }
        return self._frame.assign(**columns)


class PolarsTable:
    def __init__(self, frame: Any):
        self._frame = frame
        self.columns = list(frame.columns)

    def __len__(self) -> int:
        return len(self._frame)

    def rows(self) -> Iterator[Mapping[str, Any]]:
        yield from self._frame.iter_rows(named=True)

    def with_columns(self, added: Mapping[str, Column]) -> Any:
        import polars as pl

        text = pl.String
        return self._frame.with_columns(
            pl.Series(
                name,
                list(values),
                dtype=pl.List(text) if _holds_lists(values) else text,
            )
            for name, values in added.items()
        )


class ListTable:
    """A list of dictionaries; a name that a row lacks has no value there."""

    def __init__(self, rows: Sequence[Mapping[Any, Any]]):
        self._rows = rows
        self.columns = list(dict.fromkeys(str(name) for row in rows for name in row))

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self) -> Iterator[Mapping[str, Any]]:
        for row in self._rows:
            yield {str(name): value for name, value in row.items()}

    def with_columns(self, added: Mapping[str, Column]) -> list[dict[Any, Any]]:
        names = list(added)
        return [
            {**row, **dict(zip(names, values, strict=True))}
            for row, values in zip(self._rows, _transposed(added, len(self)), strict=True)
        ]


def _transposed(columns: Mapping[str, Column], count: int) -> Iterable[tuple[Any, ...]]:
    return zip(*columns.values(), strict=True) if columns else [()] * count


def _holds_lists(values: Column) -> bool:
    return any(isinstance(value, list) for value in values)


def _library(table: Any) -> str | None:
    """pandas or polars, if it is a frame of one; also of a class derived from it."""
    for kind in type(table).__mro__:
        if kind.__name__ == "DataFrame":
            return kind.__module__.partition(".")[0]
    return None
