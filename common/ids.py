"""What an id may look like, a function for each noun. What has another form names nothing, and
never becomes a key.

Names inside keys are separated by colons, so that an id with one would name another key: `job_1:st`
the states of `job_1`. `common/store/keys.py` builds keys of checked ids only.
"""

from __future__ import annotations

import re

from common.errors import NotFound

INSIDE = r"[0-9A-Za-z_-]{1,64}"
JOB = re.compile(rf"job_{INSIDE}")
BATCH = re.compile(rf"batch_{INSIDE}")
FILE = re.compile(rf"file-{INSIDE}")
TENANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
API_KEY = re.compile(r"[0-9a-z]{1,64}")
MODEL = re.compile(
    r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,256}"
)  # hub ids, folders' names, what PROMPTMILL_SERVED_NAME says


def job(given: str) -> str:
    return _checked(JOB, "job", given)


def batch(given: str) -> str:
    return _checked(BATCH, "batch", given)


def file(given: str) -> str:
    return _checked(FILE, "file", given)


def tenant(given: str) -> str:
    return _checked(TENANT, "tenant", given)


def api_key(given: str) -> str:
    return _checked(API_KEY, "key", given)


def model(given: str) -> str:
    return _checked(MODEL, "model", given)


def _checked(pattern: re.Pattern[str], noun: str, given: str) -> str:
    """The id itself; `NotFound` for what no such thing is called."""
    if not pattern.fullmatch(given):
        raise NotFound(f"no {noun} {given[:80]!r}")
    return given
