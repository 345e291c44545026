"""Commands that do in a terminal what a job's page shows. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from common.result_row import InputRow
from web.schemas.answers import JobView
from web.schemas.requests import INPUTS

INLINE = 1000  # characters of JSON in a command; a longer job is sent as a file


@dataclass(frozen=True)
class Commands:
    """Commands that do the same in a terminal."""

    submit: str
    results: str


def commands(job: JobView, rows: Sequence[InputRow], base_url: str) -> Commands:
    """The same job with curl. `rows` are its items if they are few, else empty: the command then
    uploads a file."""
    key = '-H "Authorization: Bearer $PROMPTMILL_API_KEY"'
    options: dict[str, JsonValue] = {"model": job.model}
    options |= {
        name: value for name, value in (("params", job.params), ("metadata", job.metadata)) if value
    }
    body = _json({**options, "items": [_item(row) for row in rows]}) if rows else ""
    if body and len(body) <= INLINE:
        content = f"-H 'Content-Type: application/json' \\\n  -d {shlex.quote(body)}"
    else:
        content = f"-F file=@prompts.jsonl \\\n  -F {shlex.quote('job=' + _json(options))}"
    return Commands(
        submit=f"curl {base_url}/v1/jobs {key} \\\n  {content}",
        results=f"curl {base_url}/v1/jobs/{job.id}/results.jsonl {key}",
    )


def _item(row: InputRow) -> Mapping[str, object]:
    """The input of a row as a request has it."""
    sent = ("custom_id", *INPUTS)
    return {name: value for name, value in row.items() if name in sent and value}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
