"""`map`: a text for each row of a table, from one job that the same call finds again."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from promptmill.client import Client
from promptmill.errors import FailedRowsWarning, RowsFailed, TableError
from promptmill.progress import Progress
from promptmill.run import Run, describe_failures
from promptmill.shapes import Message
from promptmill.tables import Table, open_table

TableT = TypeVar("TableT")


def map(
    table: TableT,
    template: str | Sequence[Message] | None = None,
    *,
    model: str | None = None,
    params: Mapping[str, Any] | None = None,
    system: str | None = None,
    chat: bool | None = None,
    output: str = "output",
    error: str | None = None,
    errors: Literal["keep", "raise"] = "keep",
    to: str | Path | None = None,
    progress: bool | None = None,
    client: Client | None = None,
    url: str | None = None,
    api_key: str | None = None,
    **options: Any,
) -> TableT:
    """The table with a column more: the text that the model generated for each row.

        promptmill.map(frame, "Summarise: {{text}}", params={"max_tokens": 60})

    The table is a pandas or polars frame, a list of dictionaries, or the path of a CSV, TSV, XLSX,
    Parquet or JSONL file, whose result is a new file (`to`, or `texts.output.csv`). Stopped and
    called again, from anywhere and on any later day, it goes on with the same job; one changed
    cell makes another. `template` may be a chat's messages; a text is asked as a chat where the
    model has chats, unless `chat` says otherwise. `params={"n": 3}` gives lists. A row that failed
    has None: a warning says why, `error` names a column that does, and `errors="raise"` raises
    RowsFailed in the end. `options` are other fields of a job: `preset`, `clean`, `truncate`.
    README.md has each argument.
    """
    opened = _checked(open_table(table, to), output, error, errors)
    finished: Callable[..., TableT] = partial(_with_columns, table, opened, output, error)
    if not len(opened):
        return finished([], {})
    job_options = {"model": model, "params": dict(params or {}), **options}
    with nullcontext(client) if client else Client(url, api_key) as server:
        run = Run(server, opened, Progress(progress))
        job = run.job(job_options, template, system, chat)
        outcome = run.outcome(job)
    failures = outcome.failures
    result = finished(outcome.outputs, failures)
    if failures:
        message = describe_failures(outcome, bool(error))
        if errors == "raise":
            raise RowsFailed(message, table=result, failures=failures, job_id=job["id"])
        warnings.warn(message, FailedRowsWarning, stacklevel=2)
    return result


def _checked(table: Table, output: str, error: str | None, errors: str) -> Table:
    if errors not in ("keep", "raise"):
        raise ValueError(f'errors must be "keep" or "raise", not {errors!r}')
    if output == error:
        raise ValueError("output and error must name two columns")
    for name in (output, error):
        if name in table.columns:
            raise TableError(
                f"the table has a column {name!r} already; leave it out, or name the new one "
                "with output= or error="
            )
    return table


def _with_columns(
    given: Any,
    table: Table,
    output: str,
    error: str | None,
    outputs: Sequence[Any],
    failures: Mapping[int, str],
) -> Any:
    added = {output: outputs}
    if error:
        added[error] = [failures.get(index) for index in range(len(table))]
    result = table.with_columns(added)
    return str(result) if isinstance(given, str) else result
