"""The errors and warnings that the client raises.

PromptmillError
├── RequestRefused     the server refused the request; `code`, `status` and `errors` say why
├── ServerUnreachable  the server did not answer for longer than the client's `patience`
├── TableError         the table cannot be sent: a value, a column or a file; nothing was sent
└── RowsFailed         rows have no output, and `map` was called with `errors="raise"`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class PromptmillError(Exception):
    """The base of all errors that the client raises on purpose."""


class RequestRefused(PromptmillError):
    """The server refused a request.

    `status` is the HTTP status and `code` the server's stable name of the fault. `errors` lists
    each fault as the server sent it: `code`, `message`, and `field` and `line` where there is one;
    a `line` is a row of the table, counted from 1.
    """

    def __init__(
        self, message: str, *, status: int, code: str, errors: Sequence[Mapping[str, Any]] = ()
    ):
        super().__init__(message)
        self.status = status
        self.code = code
        self.errors = list(errors)


class ServerUnreachable(PromptmillError):
    """The server did not answer, or was not available, for longer than the client's patience."""


class TableError(PromptmillError, ValueError):
    """A table that cannot be sent, or written. Nothing was submitted."""


class RowsFailed(PromptmillError):
    """Some rows have no output.

    `table` is the result all the same, with None in those rows; `failures` says for each of them
    why, by its position from 0; `job_id` is the job.
    """

    def __init__(self, message: str, *, table: Any, failures: Mapping[int, str], job_id: str):
        super().__init__(message)
        self.table = table
        self.failures = dict(failures)
        self.job_id = job_id


class FailedRowsWarning(UserWarning):
    """Some rows have no output; the message says how many, why, and where to see them."""
