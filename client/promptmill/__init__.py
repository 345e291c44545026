"""What users import: `map` generates a text for each row of a table, and `Client` does the same
step by step, with a promptmill server."""

from promptmill.client import Client
from promptmill.errors import (
    FailedRowsWarning,
    PromptmillError,
    RequestRefused,
    RowsFailed,
    ServerUnreachable,
    TableError,
)
from promptmill.mapping import map

__all__ = [
    "Client",
    "FailedRowsWarning",
    "PromptmillError",
    "RequestRefused",
    "RowsFailed",
    "ServerUnreachable",
    "TableError",
    "map",
]
