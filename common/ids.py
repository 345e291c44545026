"""Checks the form of ids, with a function for each kind. An id of another form is not found.

The parts of a Redis key are separated by colons, so an id with a colon would name another key:
`job_1:st` are the states of `job_1`. `common/store/keys.py` makes keys of checked ids only.
"""

from __future__ import annotations

import re

from common.errors import NotFound

INSIDE = r"[0-9A-Za-z_-]{1,64}"
JOB = re.compile(rf"job_{INSIDE}")
BATCH = re.compile(rf"batch_{INSIDE}")
SWEEP = re.compile(rf"sweep_{INSIDE}")
STUDY = re.compile(rf"study_{INSIDE}")
RATER = re.compile(rf"rater_{INSIDE}")
COMPARISON = re.compile(rf"cmp_{INSIDE}")
EVALUATION = re.compile(rf"eval_{INSIDE}")
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


def sweep(given: str) -> str:
    return _checked(SWEEP, "sweep", given)


def study(given: str) -> str:
    return _checked(STUDY, "study", given)


def rater(given: str) -> str:
    return _checked(RATER, "rater", given)


def comparison(given: str) -> str:
    return _checked(COMPARISON, "comparison", given)


def evaluation(given: str) -> str:
    return _checked(EVALUATION, "evaluation", given)


def file(given: str) -> str:
    return _checked(FILE, "file", given)


def tenant(given: str) -> str:
    return _checked(TENANT, "tenant", given)


def api_key(given: str) -> str:
    return _checked(API_KEY, "key", given)


def model(given: str) -> str:
    return _checked(MODEL, "model", given)


def _checked(pattern: re.Pattern[str], noun: str, given: str) -> str:
    """The id itself; `NotFound` if it has another form."""
    if not pattern.fullmatch(given):
        raise NotFound(f"no {noun} {given[:80]!r}")
    return given
