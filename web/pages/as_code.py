"""The job of the form as a program sends it: a curl command and lines of Python. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pprint import pformat

from common.types import JsonObject

INLINE = 1000  # characters of prompts in a command; more of them are read from a file


@dataclass(frozen=True)
class AsCode:
    curl: str
    python: str


def as_code(
    job: Mapping[str, object], base_url: str, *, file: str = "", items: Sequence[JsonObject] = ()
) -> AsCode:
    """Code that submits `job`, the fields of a job, with a file of this name, or with these
    items."""
    fields = dict(job)
    if file:
        sent = f"-F {shlex.quote(f'file=@{file}')} \\\n  -F {shlex.quote(f'job={_json(fields)}')}"
        call = f"client.submit_file({json.dumps(file, ensure_ascii=False)}"
    else:
        body = _json({**fields, "items": list(items)})
        sent = f"-H 'Content-Type: application/json' \\\n  -d {shlex.quote(body)}"
        call = f"client.submit(\n    {_python(list(items))}"
    key = '-H "Authorization: Bearer $PROMPTMILL_API_KEY"'
    arguments = "".join(f"    {name}={_python(value)},\n" for name, value in fields.items())
    return AsCode(
        curl=f"curl {base_url}/v1/jobs {key} \\\n  {sent}",
        python=(
            "import promptmill  # the distribution promptmill-client, in the folder client/\n\n"
            f'client = promptmill.Client("{base_url}")  # reads PROMPTMILL_API_KEY\n'
            f"job = {call},\n{arguments})\n"
            'client.wait(job["id"])\n'
            'for row in client.results(job["id"]):\n    print(row["outputs"])'
        ),
    )


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _python(value: object) -> str:
    """The value as Python writes it, its lines indented like an argument."""
    return pformat(value, width=92, sort_dicts=False).replace("\n", "\n    ")
