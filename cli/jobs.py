"""Commands about jobs: `watch`, `results`, `cancel`, and `promptmill jobs …` for all the rest."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import click

from cli.client import RequestRefused, open_client
from cli.commands import Command, Commands
from cli.folder import DataFolder, data_option
from cli.progress import (
    all_succeeded,
    ended,
    show_progress,
    summary,
    why_it_waits,
    why_it_was_not_made,
)
from cli.sent_options import parse_params
from cli.sweeps import cancel_sweep, is_sweep, jobs_of, show_sweep
from cli.terminal import print_line, printable_lines
from common.types import JobState, JsonObject

NAME = 40  # characters of a name in a list

RESULT_FLAGS = {
    "merge_retries": ("merge", "retries"),
    "include_prompt": ("include", "prompt"),
    "no_guard": ("guard", "0"),
    "bom": ("bom", "1"),
    "flatten": ("flatten", "1"),
}
MOST_SHOWN = 200  # characters of a parameter
INTERRUPTED = 130  # exit code of a program that Ctrl-C ended

job_argument = click.argument("job_id", metavar="ID")


@click.command(cls=Command)
@job_argument
@data_option
def watch(job_id: str, folder: DataFolder) -> None:
    """Show a job's progress until it ends; of a sweep, that of each of its jobs.

    On a terminal it is a bar, else a line every few seconds, both on stderr. The exit code is 0 if
    every item succeeded, 130 after Ctrl-C, after which the job goes on, else 1.
    """
    succeeded = True
    with open_client(folder) as client:
        try:
            for each in jobs_of(client, job_id):
                job = show_progress(client, each)
                print_line(f"{each}: {summary(job)}" if is_sweep(job_id) else summary(job))
                succeeded = succeeded and all_succeeded(job)
        except KeyboardInterrupt:
            print_line(
                f"\n{job_id} goes on; `promptmill watch {job_id}` shows it again, `promptmill "
                f"cancel {job_id}` stops it",
                err=True,
            )
            sys.exit(INTERRUPTED)
    sys.exit(0 if succeeded else 1)


@click.command(cls=Command)
@job_argument
@click.option(
    "--format",
    "kind",
    type=click.Choice(["jsonl", "csv", "parquet"]),
    default="jsonl",
    show_default=True,
    help="Format of the file.",
)
@click.option(
    "--merge-retries", is_flag=True, help="Of a row that was retried, what came of it in the end."
)
@click.option("--include-prompt", is_flag=True, help="Each prompt, too, as the model reads it.")
@click.option(
    "--no-guard",
    is_flag=True,
    help="CSV: no apostrophe before a text that a spreadsheet takes for a formula.",
)
@click.option(
    "--bom", is_flag=True, help="CSV: a byte-order mark first, by which Excel knows UTF-8."
)
@click.option(
    "--flatten", is_flag=True, help="CSV, Parquet: a column for each field of generated JSON."
)
@data_option
def results(job_id: str, kind: str, folder: DataFolder, **flags: bool) -> None:
    """Print the results that a job has so far.

    On a terminal control characters are escaped.
    """
    if kind == "jsonl" and flags["flatten"]:
        raise click.UsageError("--flatten is about tables; give --format csv or parquet")
    if kind != "csv" and (flags["no_guard"] or flags["bom"]):
        raise click.UsageError("--no-guard and --bom are about CSV; give --format csv")
    query = {name: value for flag, (name, value) in RESULT_FLAGS.items() if flags[flag]}
    if kind == "parquet" and sys.stdout.isatty():
        raise click.UsageError("Parquet is no text; write it to a file: … > results.parquet")
    with open_client(folder) as client:
        pieces = client.results(job_id, kind, query)
        if sys.stdout.isatty():
            sys.stdout.writelines(printable_lines(pieces))
        else:
            sys.stdout.buffer.writelines(pieces)
    sys.stdout.flush()


@click.command(cls=Command)
@job_argument
@data_option
def cancel(job_id: str, folder: DataFolder) -> None:
    """Cancel a job, or every job of a sweep; finished items keep their results."""
    with open_client(folder) as client:
        if is_sweep(job_id):
            cancel_sweep(client, job_id)
        else:
            print_line(summary(client.cancel(job_id)))


@click.group(cls=Commands)
def jobs() -> None:
    """List, show, pause, resume, retry, rerun and delete jobs."""


@jobs.command("list")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many.")
@click.option("--search", metavar="TEXT", help="Only jobs that have this in their id or name.")
@click.option("--status", help="Only jobs in this state; failed: with failed items.")
@click.option("--model", help="Only jobs of this model.")
@data_option
def list_jobs(limit: int, folder: DataFolder, **only: str | None) -> None:
    """List your jobs, newest first: id, status, items finished, model, name."""
    with open_client(folder) as client:
        for job in client.jobs(limit, {name: value for name, value in only.items() if value}):
            total = job["counts"]["total"]
            failed = f", {job['counts']['failed']} failed" if job["counts"]["failed"] else ""
            name = " ".join(str(job["metadata"].get("name", "")).split())
            print_line(
                f"{job['id']}  {_moment(job['created_at'])}  {_status(job):<9}  "
                f"{ended(job)}/{total}{failed}  {job['model']}  {name[:NAME]}".rstrip()
            )


@jobs.command()
@job_argument
@data_option
def show(job_id: str, folder: DataFolder) -> None:
    """Show a job: how far it is, what it waits for, its settings and where its page is; of a sweep
    its jobs and where its page is."""
    with open_client(folder) as client:
        if is_sweep(job_id):
            show_sweep(client, job_id)
            return
        for name, value in _facts(client.job(job_id)):
            print_line(f"{name + ':':<11} {value}")


def _change(verb: str, description: str) -> None:
    """Add a command that changes a job and says how it stands then."""

    def change(job_id: str, folder: DataFolder) -> None:
        with open_client(folder) as client:
            job = client.change(job_id, verb)
            print_line(f"{_status(job)}: {ended(job)} of {job['counts']['total']} finished")

    command: Callable[..., Any] = job_argument(data_option(change))
    jobs.command(verb, help=description)(command)


_change("pause", "Start no more items of a job; running ones are handed back with their text.")
_change("resume", "Let a paused job go on.")


@jobs.command()
@job_argument
@data_option
def retry(job_id: str, folder: DataFolder) -> None:
    """Run again what failed of a job that is over; prints the id of the new job."""
    with open_client(folder) as client:
        try:
            print_line(client.change(job_id, "retry")["id"])
        except RequestRefused as error:
            counts = client.job(job_id)["counts"]
            if not counts["cancelled"] + counts["expired"]:
                raise
            raise RequestRefused(
                f"{error.message}; `promptmill jobs rerun {job_id} --rows unfinished` runs the rest"
            ) from None


@jobs.command()
@job_argument
@click.option(
    "--rows",
    type=click.Choice(["all", "failed", "unfinished", "succeeded"]),
    default="all",
    show_default=True,
    help="Which items.",
)
@click.option(
    "--error",
    "errors",
    multiple=True,
    metavar="CODE",
    help="Of the failed ones those with this error code; may be given several times.",
)
@click.option("--model", help="Another model.")
@click.option("--preset", metavar="NAME[@VERSION]", help="Another preset.")
@click.option(
    "--override-items", is_flag=True, help="Items' own parameters give way to --param, too."
)
@click.option(
    "--param",
    "params",
    multiple=True,
    callback=parse_params,
    metavar="NAME=VALUE",
    help="A decoding parameter that replaces the job's; may be given several times.",
)
@data_option
def rerun(job_id: str, folder: DataFolder, **changes: Any) -> None:
    """Make a new job of a job's items, without sending them again; prints its id.

    With `--rows unfinished` it is what is left of a cancelled job.
    """
    given = {name: value for name, value in changes.items() if value}
    with open_client(folder) as client:
        print_line(client.change(job_id, "rerun", **given)["id"])


@jobs.command()
@click.argument("job_ids", metavar="ID…", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
@data_option
def delete(job_ids: tuple[str, ...], yes: bool, folder: DataFolder) -> None:
    """Delete jobs and their results, now; running ones are stopped."""
    what = job_ids[0] if len(job_ids) == 1 else f"{len(job_ids)} jobs"
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("deleting cannot be undone; give --yes where nobody can answer")
        click.confirm(f"Delete {what} with all results?", abort=True)
    with open_client(folder) as client:
        for job_id in job_ids:
            client.delete(job_id)
            print_line(f"deleted {job_id}")


jobs.add_command(cancel)


def _status(job: JsonObject) -> str:
    over = JobState(job["status"]).terminal
    return "paused" if job["flags"]["paused"] and not over else str(job["status"])


def _moment(text: str | None) -> str:
    """A time as lists show it, in UTC."""
    return text[:16].replace("T", " ") if text else ""


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"


def _facts(job: JsonObject) -> list[tuple[str, Any]]:
    counts = {state: count for state, count in job["counts"].items() if count and state != "total"}
    params = ", ".join(f"{name}={_short(value)}" for name, value in job["params"].items())
    wait = why_it_waits(job) if not JobState(job["status"]).terminal else ""
    facts = [
        ("id", job["id"]),
        ("name", job["metadata"].get("name")),
        ("status", _status(job) + (f"; {wait}" if wait and wait != "paused" else "")),
        ("error", why_it_was_not_made(job)),
        ("items", f"{job['counts']['total']}: " + ", ".join(f"{n} {s}" for s, n in counts.items())),
        ("model", job["model"]),
        ("preset", job.get("preset")),
        ("params", params),
        ("tokens", f"{job['usage']['prompt_tokens']} in, {job['usage']['completion_tokens']} out"),
        ("created", _moment(job["created_at"])),
        ("finished", _moment(job["finished_at"])),
        ("retry of", job["retry_of"]),
        ("rerun of", job.get("rerun_of")),
        ("rows of", ", ".join((job.get("input_from") or {}).get("jobs", []))),
        ("page", job["links"]["page"]),
    ]
    return [(name, value) for name, value in facts if value not in (None, "")]
