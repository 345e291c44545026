"""`promptmill study …`: people rate what jobs have generated, and what their votes amount to."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import click

from cli.client import open_client
from cli.commands import Commands
from cli.folder import DataFolder, data_option
from cli.sent_options import once
from cli.terminal import in_columns, print_line, printable_lines
from common.types import JsonObject

PAIR_HEADS = ("job", "wins", "ties", "losses", "win rate", "strength", "low–high")
SCALE_HEADS = ("job", "votes", "mean", "low–high", "1", "2", "3", "4", "5")
NONE = "–"
NO_ALPHA = {
    "no_pairs": "no task has two ratings",
    "no_variation": "all ratings are the same",
}

study_argument = click.argument("study_id", metavar="ID")


@click.group(cls=Commands)
def study() -> None:
    """Let people rate outputs without knowing which job made them: create, link, results,
    export."""


@study.command()
@click.argument("job_ids", metavar="JOB…", nargs=-1, required=True)
@click.option(
    "--kind",
    type=click.Choice(["pairs", "scale"]),
    default="pairs",
    show_default=True,
    help="Which of two outputs is better, or each by itself from 1 to 5.",
)
@click.option(
    "--criteria",
    required=True,
    multiple=True,
    callback=once,
    metavar="NAME,NAME",
    help="What is asked of each, in a word or two.",
)
@click.option("--sample", type=int, help="Rows that are rated, drawn by chance; 200 if not given.")
@click.option("--raters", type=int, help="Ratings of each task; 2 if not given.")
@data_option
def create(job_ids: tuple[str, ...], criteria: str, folder: DataFolder, **given: object) -> None:
    """Make a study of jobs that are over, and print its id."""
    wanted: JsonObject = {name: value for name, value in given.items() if value is not None}
    wanted |= {"jobs": list(job_ids), "criteria": [name.strip() for name in criteria.split(",")]}
    with open_client(folder) as client:
        made = client.create_study(wanted)
    counts = f"{made['rows']} rows, {made['tasks']} tasks, {made['progress']['total']} ratings"
    print_line(f"{counts}; page: {made['links']['page']}", err=True)
    print_line(made["id"])


@study.command()
@study_argument
@click.argument("name")
@data_option
def link(study_id: str, name: str, folder: DataFolder) -> None:
    """Make a link for a person who rates, and print it; it is told only now."""
    with open_client(folder) as client:
        print_line(client.add_rater(study_id, name)["url"])


@study.command()
@study_argument
@click.option("--json", "as_json", is_flag=True, help="Print the server's answer as JSON.")
@data_option
def results(study_id: str, as_json: bool, folder: DataFolder) -> None:
    """Print what the votes amount to, by criterion."""
    with open_client(folder) as client:
        found = client.study(study_id)
    if as_json:
        print_line(json.dumps(found, ensure_ascii=False, indent=2))
        return
    for line in lines(found):
        print_line(line)


@study.command()
@study_argument
@click.option(
    "--format",
    "kind",
    type=click.Choice(["jsonl", "csv"]),
    default="jsonl",
    show_default=True,
    help="Format of the file.",
)
@data_option
def export(study_id: str, kind: str, folder: DataFolder) -> None:
    """Print every rating with the texts that it is about.

    On a terminal control characters are escaped.
    """
    with open_client(folder) as client:
        pieces = client.study_export(study_id, kind)
        if sys.stdout.isatty():
            sys.stdout.writelines(printable_lines(pieces))
        else:
            sys.stdout.buffer.writelines(pieces)
    sys.stdout.flush()


def lines(found: JsonObject) -> Iterator[str]:
    """What people read of a study."""
    progress = found["progress"]
    yield f"{found['kind']}: {progress['done']} of {progress['total']} ratings"
    for person in found["people"]:
        ended = ", link ended" if person["revoked_at"] else ""
        yield f"  {person['name']}: {person['done']}{ended}"
    names = {job["id"]: job["name"] for job in found["jobs"]}
    row, heads = (_pair, PAIR_HEADS) if found["kind"] == "pairs" else (_scaled, SCALE_HEADS)
    for criterion, votes in found["results"].items():
        yield ""
        skips = f", {votes['skips']} skipped" if votes["skips"] else ""
        yield f"{criterion}: {votes['votes']} votes{skips}; agreement {_alpha(votes['agreement'])}"
        table = [(_called(job["job"], names), *row(job)) for job in votes["jobs"]]
        yield from in_columns([heads, *table])


def _called(job_id: str, names: JsonObject) -> str:
    return f"{job_id} {names[job_id]}" if names.get(job_id) else job_id


def _pair(job: JsonObject) -> tuple[str, ...]:
    counts = [job[name] for name in ("wins", "ties", "losses")]
    rate = NONE if job["win_rate"] is None else f"{job['win_rate']:.0%}"
    strength = f"{job['strength']:+.2f}" if any(counts) else NONE
    return (*map(str, counts), rate, strength, _between(job, "+.2f"))


def _scaled(job: JsonObject) -> tuple[str, ...]:
    mean = NONE if job["mean"] is None else f"{job['mean']:.2f}"
    return (str(job["votes"]), mean, _between(job, ".2f"), *map(str, job["counts"]))


def _between(job: JsonObject, form: str) -> str:
    return NONE if job["low"] is None else f"{job['low']:{form}} to {job['high']:{form}}"


def _alpha(agreement: JsonObject) -> str:
    """Krippendorff's alpha, or why there is none."""
    if agreement["alpha"] is None:
        return f"not known: {NO_ALPHA[agreement['reason']]}"
    return f"{agreement['alpha']:.2f} (Krippendorff's alpha)"
