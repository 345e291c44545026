"""Writes a job's results as files, in order of index, a batch of rows at a time.

Only items that are over are in them, so a file can be read while the job runs. JSONL has one row
for each item, as the API shows it; CSV and Parquet have one for each output."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any

from common.cooperate import give_way
from common.errors import InvalidRequest, NotFound
from common.result_row import Row
from common.store.job import Job
from common.store.packing import json_line
from common.types import ENDS
from web.services.services import Services

BATCH = 128  # items read at once
INTEGERS = ("index", "output", "token_count", "prompt_tokens", "completion_tokens", "seed")
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
FORMULA = (
    "=",
    "+",
    "-",
    "@",
    "\t",
    "\r",
)  # a spreadsheet would run these, some after removing a character

MEDIA_TYPES = {
    "jsonl": "application/jsonl; charset=utf-8",
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}


def stream_results(services: Services, job_id: str, tenant: str, form: str) -> Iterator[bytes]:
    """The file in pieces. If the job is deleted meanwhile the stream breaks off, so that a part is
    not taken for the whole.

    Raises:
        NotFound: no such job.
        InvalidRequest: Parquet was asked for, and the server has no pyarrow.
    """
    job = services.store.job(job_id, tenant)
    batches = _finished(services, job)
    match form:
        case "jsonl":
            return _jsonl(batches)
        case "csv":
            return _csv(batches)
        case _:
            return _parquet(batches)


def _finished(services: Services, job: Job) -> Iterator[list[Row]]:
    spec = job.spec
    for first in range(0, job.total, BATCH):
        rows = services.store.rows(job.id, first, BATCH, spec)
        if len(rows) < min(BATCH, job.total - first):
            raise NotFound(f"{job.id} was deleted while its results were read")
        yield [row for row in rows if row["status"] in ENDS]
        give_way()


def _jsonl(batches: Iterable[list[Row]]) -> Iterator[bytes]:
    for batch in batches:
        yield b"".join(map(json_line, batch))


def _csv(batches: Iterable[list[Row]]) -> Iterator[bytes]:
    page = io.StringIO(newline="")
    writer = csv.writer(page)
    writer.writerow(COLUMNS)
    for batch in batches:
        for row in batch:
            writer.writerows([_harmless(flat[name]) for name in COLUMNS] for flat in _flat(row))
        yield page.getvalue().encode()
        page.seek(0)
        page.truncate()


def _harmless(cell: Any) -> Any:
    """The cell with an apostrophe in front if a spreadsheet would take its text for a formula."""
    return "'" + cell if isinstance(cell, str) and cell.startswith(FORMULA) else cell


def _flat(row: Row) -> list[dict[str, str | int | None]]:
    """One row per output; one without text where an item has none."""
    error, usage = row["error"], row["usage"]
    shared: dict[str, str | int | None] = {
        "index": row["index"],
        "custom_id": row["custom_id"],
        "status": row["status"],
        "seed": row["seed"],
        "model": row["model"],
        "prompt_tokens": usage["prompt_tokens"],
        "completion_tokens": usage["completion_tokens"],
        "error_code": error.get("code") if error else None,
        "error_message": error.get("message") if error else None,
    }
    if not row["outputs"]:
        return [shared | {"output": None, "text": None, "finish_reason": None, "token_count": None}]
    return [
        shared
        | {
            "output": place,
            "text": output["text"],
            "finish_reason": output["finish_reason"],
            "token_count": output["token_count"],
        }
        for place, output in enumerate(row["outputs"])
    ]


def _parquet(batches: Iterable[list[Row]]) -> Iterator[bytes]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        message = (
            "this server has no pyarrow to write Parquet with: install it there, or take "
            ".jsonl or .csv"
        )
        raise InvalidRequest(message, status=406, code="parquet_unavailable") from None
    schema = pa.schema(
        [(name, pa.int64() if name in INTEGERS else pa.string()) for name in COLUMNS]
    )
    return _parquet_pieces(batches, schema, pa, parquet)


def _parquet_pieces(
    batches: Iterable[list[Row]], schema: Any, pa: Any, parquet: Any
) -> Iterator[bytes]:
    sink = _Sink()
    with parquet.ParquetWriter(sink, schema) as writer:
        for batch in batches:
            writer.write_table(
                pa.Table.from_pylist([flat for row in batch for flat in _flat(row)], schema)
            )
            yield sink.take()
    yield sink.take()


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
