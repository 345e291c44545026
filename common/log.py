"""Log lines as text for people, or as JSON, one object a line, for machines.

`log.info("…", extra={"job": job_id})` adds the job's id; other extras are printed, too. Text of
users cannot begin a line or control a terminal: control characters are escaped, and the lines of a
traceback are indented.
"""

from __future__ import annotations

import json
import logging
import sys
import textwrap
from datetime import UTC, datetime
from typing import Any

from common.printable import printable

STANDARD = set(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "data"}


def _extras(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in record.__dict__.items() if name not in STANDARD}


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extras(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return printable(json.dumps(line, default=str, ensure_ascii=False))


class TextFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's own name
        extras = " ".join(f"{name}={value}" for name, value in _extras(record).items())
        return printable(super().formatMessage(record) + (f" [{extras}]" if extras else ""))

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return textwrap.indent(printable(super().formatException(ei), keep="\n"), "    ")


def set_up(log_format: str = "text", level: int = logging.INFO) -> None:
    """Write all logs to stderr in one format. Each process calls it once, at its start."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("celery").setLevel(logging.WARNING)
    logging.getLogger("kombu").setLevel(logging.WARNING)
