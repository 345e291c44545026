"""Log lines carry the job id, for people and for machines."""

from __future__ import annotations

import json
import logging

from common.log import JsonFormatter, TextFormatter


def record(**extra: object) -> logging.LogRecord:
    return logging.getLogger("t").makeRecord("t", logging.INFO, "f", 1, "done %d", (3,), None, extra=extra)


def test_a_json_line_is_one_object_with_the_job():
    line = json.loads(JsonFormatter().format(record(job="job_1")))
    assert (line["message"], line["job"], line["level"]) == ("done 3", "job_1", "info")


def test_a_text_line_ends_with_what_was_given():
    assert TextFormatter().format(record(job="job_1")).endswith("t: done 3 [job=job_1]")
