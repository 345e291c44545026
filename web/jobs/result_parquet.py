"""Results as Parquet, a batch of rows at a time. Columns that came from a Parquet file have its
types again, others are text."""

from __future__ import annotations

import importlib
import importlib.util
import io
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gevent

from common.errors import InvalidRequest
from web.jobs.item_views import Whole
from web.jobs.result_table import Batches, ResultTable

# Of a row group, which is written whole: each has an entry for every column at the file's end.
GROUP_ROWS = 4096
GROUP_BYTES = 8 * 2**20
_loading = threading.Lock()


def parquet_pieces(
    batches: Batches, table: ResultTable, types: Mapping[str, str]
) -> Iterator[bytes]:
    """`types` are Arrow's of the input's columns, as text.

    Raises:
        InvalidRequest: the server has no pyarrow.
    """
    if importlib.util.find_spec("pyarrow") is None:
        message = (
            "this server has no pyarrow to write Parquet with: install it there, or take "
            ".jsonl or .csv"
        )
        raise InvalidRequest(message, status=406, code="parquet_unavailable")
    return _pieces(batches, table, types)


def _pieces(batches: Batches, table: ResultTable, types: Mapping[str, str]) -> Iterator[bytes]:
    _load_arrow()
    import pyarrow as pa
    from pyarrow import parquet

    from web.jobs.arrow_values import type_of

    kinds = [type_of(types.get(name, "string")) for name in table.inputs]
    fields = [pa.field(name, kind) for name, kind in zip(table.inputs, kinds, strict=True)]
    for name, shown in table.ours.items():
        fields.append(pa.field(shown, type_of(table.column_type(name))))
    schema = pa.schema(fields)
    sink = _Sink()
    with parquet.ParquetWriter(sink, schema) as writer:
        waiting: list[pa.RecordBatch] = []
        rows = size = 0
        for batch in batches:
            columns = _columns(batch, table, kinds, fields)
            waiting.append(pa.RecordBatch.from_arrays(columns, schema=schema))
            rows += waiting[-1].num_rows
            size += waiting[-1].nbytes
            if rows >= GROUP_ROWS or size >= GROUP_BYTES:
                writer.write_table(pa.Table.from_batches(waiting, schema))
                waiting.clear()
                rows = size = 0
                yield sink.take()
        writer.write_table(pa.Table.from_batches(waiting, schema))
    yield sink.take()


def _load_arrow() -> None:
    """Import Arrow in a real thread: the first time that takes a third of a second, which other
    requests would wait for."""
    with _loading:
        gevent.get_hub().threadpool.apply(importlib.import_module, ("pyarrow.parquet",))


def _columns(
    batch: list[Whole], table: ResultTable, kinds: Sequence[Any], fields: Sequence[Any]
) -> list[Any]:
    """The columns of these items, as arrays."""
    import pyarrow as pa

    from web.jobs.arrow_values import array_of

    given, ours = [], []
    for whole in batch:
        cells = table.cells(whole, typed=True)
        ours += cells
        if kinds:
            given += [table.values(whole)] * len(cells)
    columns = [array_of([row[place] for row in given], kind) for place, kind in enumerate(kinds)]
    own = zip(table.ours, fields[len(kinds) :], strict=True)
    return columns + [pa.array([cells[name] for cells in ours], field.type) for name, field in own]


class _Sink(io.RawIOBase):
    """A file whose content is taken away as it is written. It cannot seek, which Parquet's writer
    does not need."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._written = 0

    def writable(self) -> bool:
        return True

    def write(self, piece: Any) -> int:
        self._pieces.append(bytes(piece))
        self._written += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._written

    def take(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)
