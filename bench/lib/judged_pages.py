"""The pages of a judged job that read the scores of all its items, and how long they take."""

from __future__ import annotations

import statistics
import time

from bench.lib.stack import Stack
from common.store.sessions import Sessions
from web.auth import COOKIE

LOOKS = 5
# `last` and `middle` are indexes of items. The last range holds every item's score.
SCORED_PATHS = {
    "job": "/jobs/{id}",
    "a bar of the histogram": "/jobs/{id}?metric=bleu&least=40&below=41",
    "lowest scores first": "/jobs/{id}?metric=chrf&order=score",
    "a range, highest scores first": "/jobs/{id}?metric=rouge_l&below=50&order=-score",
    "an item": "/jobs/{id}/items/{last}?metric=bleu&below=41",
    "to the next item": "/jobs/{id}/items/{middle}/next?metric=bleu&order=score",
}


def scored_paths(job_id: str, items: int) -> dict[str, str]:
    """The paths of a job of so many items, by what they show."""
    return {
        name: path.format(id=job_id, last=items - 1, middle=items // 2)
        for name, path in SCORED_PATHS.items()
    }


def page_ms(stack: Stack, tenant: str, job_id: str, items: int) -> dict[str, int]:
    """Milliseconds until a page has come whole, the median of five looks, for a browser that is
    logged in. Redirects are answers of their own and are not followed."""
    cookie = log_in(stack, tenant)
    found = {}
    for name, path in scored_paths(job_id, items).items():
        took = [seconds(stack, path, cookie) for _ in range(LOOKS)]
        found[name] = round(statistics.median(took) * 1000)
    return found


def log_in(stack: Stack, tenant: str) -> str:
    """The cookie of a new session."""
    token = Sessions(stack.client).create_login(tenant)
    connection = stack.connect()
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", "/login", f"token={token}", form)
    answer = connection.getresponse()
    cookies = (each.split(";")[0] for each in answer.headers.get_all("Set-Cookie") or ())
    connection.close()
    return next(each for each in cookies if each.startswith(f"{COOKIE}="))


def seconds(stack: Stack, path: str, cookie: str) -> float:
    """Of one look, over a connection of its own."""
    connection = stack.connect()
    began = time.perf_counter()
    connection.request("GET", path, headers={"Cookie": cookie})
    answer = connection.getresponse()
    answer.read()
    took = time.perf_counter() - began
    connection.close()
    if answer.status not in (200, 303):
        raise SystemExit(f"{path} was answered {answer.status}")
    return took
