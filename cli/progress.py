"""Shows the progress of a job: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time

import click

from cli.client import Client
from cli.terminal import print_line
from common.printable import printable
from common.types import ENDS, ItemState, JsonObject

ENDED = [state.value for state in ItemState if state in ENDS]
BETWEEN_LINES = 5.0  # seconds between two lines, where output is no terminal
WAITS = {
    "worker": "no worker serves its model; `promptmill worker` starts one",
    "job": "it is made of the rows of other jobs, which are not over",
    "larger_worker": "no worker has as many slots as its items need",
}


def show_progress(client: Client, job_id: str) -> JsonObject:
    """Show on stderr how far a job is until it ends. Returns the job."""
    if sys.stderr.isatty():
        return _show_bar(client, job_id)
    job: JsonObject = {}
    last, told = "", 0.0
    for job in client.watch(job_id):
        line = progress(job)
        if line != last and (not last or time.monotonic() - told >= BETWEEN_LINES):
            print_line(line, err=True)
            last, told = line, time.monotonic()
    if progress(job) != last:
        print_line(progress(job), err=True)
    return job


def _show_bar(client: Client, job_id: str) -> JsonObject:
    job = client.job(job_id)
    total, label = job["counts"]["total"], printable(job_id)
    with click.progressbar(length=total, label=label, show_pos=True, file=sys.stderr) as bar:
        for job in client.watch(job_id):
            bar.label = printable(f"{job_id} ({why_it_waits(job)})" if why_it_waits(job) else label)
            bar.length = job["counts"]["total"]  # none yet of a job that waits for others
            bar.update(ended(job) - bar.pos)
    return job


def progress(job: JsonObject) -> str:
    """How far a job is, in a line."""
    counts, wait = job["counts"], why_it_waits(job)
    failed = f", {counts['failed']} failed" if counts["failed"] else ""
    return f"{job['id']}: {ended(job)} of {counts['total']} finished{failed}" + (
        f"; {wait}" if wait else ""
    )


def why_it_waits(job: JsonObject) -> str:
    """Why a job does not go on, if it does not."""
    if job["flags"]["paused"] and job["finished_at"] is None:
        return "paused"
    return WAITS.get(job["waiting_for"] or "", "")


def ended(job: JsonObject) -> int:
    return sum(job["counts"][state] for state in ENDED)


def summary(job: JsonObject) -> str:
    counts = ", ".join(f"{job['counts'][state]} {state}" for state in ENDED if job["counts"][state])
    said = (
        f"{job['status']}: {counts or 'no item finished'}; {job['usage']['completion_tokens']} "
        "tokens generated"
    )
    return f"{said}; {why}" if (why := why_it_was_not_made(job)) else said


def why_it_was_not_made(job: JsonObject) -> str:
    """Why a job of other jobs' rows never got items, if it did not."""
    return str((job.get("error") or {}).get("message", ""))


def all_succeeded(job: JsonObject) -> bool:
    return bool(job["counts"]["succeeded"] == job["counts"]["total"])
