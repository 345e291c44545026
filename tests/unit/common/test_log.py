"""Log lines carry the job id, for people and for machines."""

from __future__ import annotations

import json
import logging

import pytest

from common.log import JsonFormatter, TextFormatter

# Ends the line and forges another; clears the screen, in two ways; sets the title; writes
# backwards; is no text.
HOSTILE = (
    "a\n12:00:00 INFO    web: forged\r\x1b[2J\x9b2J\x1b]0;title\x07\u202eb\u2028c\x7f\ud800日本語"
)
COMMANDS = "\n\r\x1b\x9b\x07\u202e\u2028\x7f\ud800"


def record(
    message: str = "done %d",
    *arguments: object,
    error: BaseException | None = None,
    **extra: object,
) -> logging.LogRecord:
    about = (type(error), error, error.__traceback__) if error else None
    return logging.getLogger("t").makeRecord(
        "t", logging.INFO, "f", 1, message, arguments or (3,), about, extra=extra
    )


def test_a_json_line_is_one_object_with_the_job() -> None:
    line = json.loads(JsonFormatter().format(record(job="job_1")))
    assert (line["message"], line["job"], line["level"]) == ("done 3", "job_1", "info")


def test_a_text_line_ends_with_what_was_given() -> None:
    assert TextFormatter().format(record(job="job_1")).endswith("t: done 3 [job=job_1]")


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_what_users_wrote_can_neither_begin_a_line_nor_command_a_terminal(
    formatter: logging.Formatter,
) -> None:
    line = formatter.format(record("%s %s", "GET", HOSTILE, job=HOSTILE))
    assert not set(line) & set(COMMANDS)
    assert line.count("\\n12:00:00 INFO    web: forged\\r\\u001b[2J\\u009b2J") == 2
    assert line.count("日本語") == 2


def test_a_json_line_says_exactly_what_was_said() -> None:
    line = json.loads(JsonFormatter().format(record("%s %s", "GET", HOSTILE, job=HOSTILE)))
    assert (line["message"], line["job"]) == (f"GET {HOSTILE}", HOSTILE)


def test_the_lines_of_a_traceback_are_told_from_log_lines() -> None:
    try:
        raise ValueError(HOSTILE)
    except ValueError as error:
        whole = TextFormatter().format(record(error=error, job="job_1"))
    first, *rest = whole.splitlines()
    assert first.endswith("t: done 3 [job=job_1]")
    assert rest[0] == "    Traceback (most recent call last):"
    assert all(line.startswith("    ") for line in rest)
    assert not set(whole) & set(COMMANDS) - {"\n"}
