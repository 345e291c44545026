"""Writes a job's results as files, in order of index, a batch of rows at a time.

Only items that are over are in them, so a file can be read while the job runs. JSONL has one row
for each item, as the API shows it; CSV and Parquet have one for each output."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from common.cooperate import Steps, give_way
from common.errors import NotFound
from common.store.job import Job
from common.store.packing import json_line
from common.store.rows import complete_params
from common.types import ENDS
from web.jobs.item_views import Whole, WholeItems
from web.jobs.output_fields import OutputFields, fields_of, schema_fields
from web.jobs.result_parquet import parquet_pieces
from web.jobs.result_table import ResultTable, csv_pieces
from web.jobs.retry_chains import RetriedRows
from web.jobs.row_scores import scored_by
from web.schemas.queries import ResultsQuery
from web.services.services import Services

MEDIA_TYPES = {
    "jsonl": "application/jsonl; charset=utf-8",
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
}


def stream_results(
    services: Services, job_id: str, tenant: str, form: str, wanted: ResultsQuery
) -> tuple[str, Iterator[bytes]]:
    """The name of the job for that of the file, and the file in pieces. If the job is deleted
    meanwhile the stream breaks off, so that a part is not taken for the whole.

    Raises:
        NotFound: no such job, or no such evaluation of it.
        Conflict: the evaluation is not done.
        InvalidRequest: Parquet was asked for, and the server has no pyarrow; or something is wanted
        that such a file has no use for.
    """
    wanted.refuse_others(form)
    job = services.store.job(job_id, tenant)
    scores = scored_by(services, job, tenant, wanted.evaluation)
    items = WholeItems(services, job, wanted.renders, scores)
    retried = RetriedRows(services.store, job) if wanted.merge else None
    batches = _finished(items, retried)
    fields: OutputFields | None = None
    if wanted.flatten:
        fields, seen = _fields_of(batches, job)
        batches = _only(seen, _finished(items, retried))
    match form:
        case "jsonl":
            pieces = _jsonl(batches, items, wanted)
        case "csv":
            table = ResultTable(items, wanted, fields)
            pieces = csv_pieces(batches, table, wanted.bom, wanted.guard)
        case _:
            table = ResultTable(items, wanted, fields)
            pieces = parquet_pieces(batches, table, items.prep.get("types", {}))
    return str(job.spec.get("metadata", {}).get("name") or job.id), pieces


def _finished(items: WholeItems, retried: RetriedRows | None) -> Iterator[list[Whole]]:
    """The items that are over; each with the row of its retry that counts, if retries are
    followed."""
    job = items.job
    batch = items.at_once
    for first in range(0, job.total, batch):
        rows = items.read(first, batch)
        if len(rows) < min(batch, job.total - first):
            raise NotFound(f"{job.id} was deleted while its results were read")
        if retried:
            swapped = retried.swap([whole.row for whole in rows])
            rows = [
                whole._replace(row=row, retried_in=retry)
                for whole, (row, retry) in zip(rows, swapped, strict=True)
            ]
        yield [whole for whole in rows if whole.row["status"] in ENDS]
        give_way()


def _fields_of(batches: Iterable[list[Whole]], job: Job) -> tuple[OutputFields, bytearray]:
    """The fields of all outputs, and which items these are of, a byte each: later ones may have
    others."""
    fields = OutputFields(schema_fields(job.spec.get("params", {}).get("output") or {}))
    seen, steps = bytearray(job.total), Steps()
    for batch in batches:
        for whole in batch:
            seen[whole.row["index"]] = 1
            for output in whole.row["outputs"]:
                fields.look(fields_of(output["text"]))
            steps.step()
    return fields, seen


def _only(seen: bytearray, batches: Iterable[list[Whole]]) -> Iterator[list[Whole]]:
    for batch in batches:
        yield [whole for whole in batch if seen[whole.row["index"]]]


def _jsonl(
    batches: Iterable[list[Whole]], items: WholeItems, wanted: ResultsQuery
) -> Iterator[bytes]:
    own = complete_params(items.job.spec, {}) if wanted.params == "own" else None
    for batch in batches:
        yield b"".join(json_line(_line(whole, items, own)) for whole in batch)


def _line(whole: Whole, items: WholeItems, job_params: Mapping[str, Any] | None) -> dict[str, Any]:
    """A row, its params without those that are the job's where these are given."""
    line: dict[str, Any] = {**whole.row, **items.beside(whole)}
    if job_params is not None:
        line["params"] = {
            name: value
            for name, value in whole.item.get("params", {}).items()
            if name != "seed" and (name not in job_params or job_params[name] != value)
        }
    return line
