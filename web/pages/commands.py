"""Commands that do in a terminal what a job's page shows. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from pydantic import JsonValue

from common.result_row import InputRow
from common.store.job_prep import JobPrep
from web.schemas.answers import JobView
from web.schemas.requests import INPUTS

INLINE = 1000  # characters of JSON in a command; a longer job is sent as a file
MOST_OPTIONS = 8000  # characters of JSON about all items: an output format may have 64 KiB
FILES = (".csv", ".tsv", ".xlsx", ".parquet", ".jsonl", ".ndjson", ".txt")
PREPARED = ("template", "clean", "truncate")  # a preset has gone into these


@dataclass(frozen=True)
class Commands:
    """Commands that do the same in a terminal; `submit` is empty where it would be too long."""

    submit: str
    results: str


def commands(
    job: JobView, prep: JobPrep, rows: Sequence[InputRow], base_url: str, keeps_bad_rows: bool
) -> Commands:
    """The same job with curl. `rows` are its items if they are few, else empty: the command then
    uploads a file."""
    key = '-H "Authorization: Bearer $PROMPTMILL_API_KEY"'
    options: dict[str, JsonValue] = {"model": job.model}
    options |= {
        name: value for name, value in (("params", job.params), ("metadata", job.metadata)) if value
    }
    options |= {name: prep[name] for name in PREPARED if name in prep}  # type: ignore[literal-required]
    body = _json({**options, "items": [_item(row, prep) for row in rows]}) if rows else ""
    if job.input_from is not None:
        content = _sent(_json({**options, **_derived(job)}))
    elif body and len(body) <= INLINE and "mapped" not in prep and not keeps_bad_rows:
        content = _sent(body)
    else:
        if "mapped" in prep:
            options["columns"] = prep["mapped"]
        if keeps_bad_rows:
            options["bad_rows"] = "fail"
        file = shlex.quote(f"file=@{_file(job, prep)}")
        content = f"-F {file} \\\n  -F {shlex.quote('job=' + _json(options))}"
    is_long = len(content) > MOST_OPTIONS
    return Commands(
        submit="" if is_long else f"curl {base_url}/v1/jobs {key} \\\n  {content}",
        results=f"curl {base_url}/v1/jobs/{job.id}/results.jsonl {key}",
    )


def _sent(body: str) -> str:
    return f"-H 'Content-Type: application/json' \\\n  -d {shlex.quote(body)}"


def _derived(job: JobView) -> dict[str, JsonValue]:
    """What a job of other jobs' rows has in place of items."""
    assert job.input_from is not None
    judge: dict[str, JsonValue] = {"judge": job.judge} if job.judge else {}
    return {"input_from": job.input_from.model_dump(mode="json"), **judge}


def _file(job: JobView, prep: JobPrep) -> str:
    """The name of the file: that of the job, which is called as its file where nobody named it."""
    name = str(job.metadata.get("name") or "")
    if PurePath(name).suffix.lower() in FILES:
        return name
    if "types" in prep:
        return "table.parquet"
    return "table.csv" if "mapped" in prep or "template" in prep else "prompts.jsonl"


def _item(row: InputRow, prep: JobPrep) -> Mapping[str, object]:
    """The input of a row as a request has it: a template makes its prompt."""
    inputs = () if "template" in prep else INPUTS
    sent = ("custom_id", "vars", "reference", *inputs)
    pairs = row.items()
    found = {name: value for name, value in pairs if name in sent and (value or name in INPUTS)}
    if scored := row.get("continuations"):
        found["continuations"] = [each["text"] for each in scored]
    return found


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
