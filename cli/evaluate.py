"""`promptmill evaluate`: scores the outputs of a job; its exit code says whether they pass."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from cli.client import Client, RequestRefused, open_client
from cli.commands import Command
from cli.folder import DataFolder, data_option
from cli.jobs import INTERRUPTED, job_argument
from cli.progress import show_progress
from cli.sent_options import parse_bounds, parse_metrics
from cli.terminal import in_columns, print_line
from common.types import JobState, JsonObject

EXITS = {"passed": 0, "failed": 3, "undecided": 4}  # 1 and 2 mean the same as for all commands
HEADS = ("metric", "value", "low–high", "n", "nulls")
NONE = "–"


@click.command(cls=Command)
@job_argument
@click.option(
    "--wait",
    is_flag=True,
    help="Wait for the scores and print them; --min and --max wait, too.",
)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    callback=parse_metrics,
    metavar="NAME",
    help='A metric, or as JSON {"name": "bleu", "tokenize": "zh"}; may be given several times. '
    "The job's own if none is given.",
)
@click.option(
    "--min",
    "least",
    multiple=True,
    callback=parse_bounds,
    metavar="METRIC=VALUE",
    help="Pass only if the metric is certainly not below; may be given several times.",
)
@click.option(
    "--max",
    "most",
    multiple=True,
    callback=parse_bounds,
    metavar="METRIC=VALUE",
    help="Pass only if the metric is certainly not above; may be given several times.",
)
@click.option(
    "--references",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A table with a column `reference` and, unless its rows are those of the job's items in "
    "their order, `custom_id`: JSONL, CSV, TSV, XLSX or Parquet.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the server's answer as JSON.")
@data_option
def evaluate(
    job_id: str,
    wait: bool,
    metrics: list[str | JsonObject],
    least: dict[str, float],
    most: dict[str, float],
    references: Path | None,
    as_json: bool,
    folder: DataFolder,
) -> None:
    """Score the outputs of a job; prints the evaluation's id, with --wait, --min or --max its
    scores.

    The exit code is 0 if --min and --max are passed, or none is given; 3 if one failed; 4 if none
    failed but one is undecided. Who waits for scores waits for the job first, if it is not over.
    """
    rules = [{"metric": name, "min": bound} for name, bound in least.items()]
    rules += [{"metric": name, "max": bound} for name, bound in most.items()]
    asked: JsonObject = {"metrics": metrics, "gate": rules}
    wait = wait or bool(rules)  # else the exit code would be 0 whatever the scores are
    with open_client(folder) as client:
        if wait:
            _wait_for_job(client, job_id)
        found = client.evaluate(job_id, asked, references)
        if wait:
            found = _awaited(client, found)
    if as_json:
        print_line(json.dumps(found, ensure_ascii=False, indent=2))
    elif wait:
        for line in (*table(found), *_unscored(found), *_gate(found, rules)):
            print_line(line)
    else:
        print_line(found["id"])
    if wait and found["gate"]:
        sys.exit(EXITS[found["gate"]["status"]])


def _wait_for_job(client: Client, job_id: str) -> None:
    """Show how far the job is until it is over, if it is not."""
    try:
        if not JobState(client.job(job_id)["status"]).terminal:
            show_progress(client, job_id)
    except KeyboardInterrupt:
        print_line(f"\n{job_id} goes on, and is not evaluated", err=True)
        sys.exit(INTERRUPTED)


def _awaited(client: Client, begun: JsonObject) -> JsonObject:
    """The evaluation when it is over; stderr shows how far it is."""
    found, told = begun, ""
    try:
        for found in client.watch_evaluation(begun["id"]):
            if (line := _progress(found)) != told:
                print_line(line, err=True)
                told = line
    except KeyboardInterrupt:
        print_line(f"\n{begun['id']} goes on", err=True)
        sys.exit(INTERRUPTED)
    if found["status"] == "failed":
        raise RequestRefused(f"{begun['id']} failed: {found['error']['message']}")
    return found


def _progress(evaluation: JsonObject) -> str:
    done, total = evaluation["progress"]["done"], evaluation["progress"]["total"]
    if evaluation["status"] == "queued":
        return f"{evaluation['id']}: waits for an evaluator"
    return f"{evaluation['id']}: {done} of {total} items scored"


def table(evaluation: JsonObject) -> Iterator[str]:
    """The scores of all metrics, in columns."""
    rows = [HEADS]
    for name, found in evaluation["summary"].items():
        between = NONE
        if found["low"] is not None:
            between = f"{_number(found['low'])}–{_number(found['high'])}"
        counts = str(found["n"]), str(found["nulls"])
        rows.append((name, _number(found["value"]), between, *counts))
    yield from in_columns(rows)


def _unscored(evaluation: JsonObject) -> Iterator[str]:
    """What to do about metrics that compare with references where no item has one."""
    summary = evaluation["summary"]
    counts = ("n", "nulls", "failed_items")
    if not evaluation["progress"]["total"]:  # nothing has anything
        return
    names = [name for name, found in summary.items() if not any(found[each] for each in counts)]
    if names:
        yield (
            f"{', '.join(names)}: no item has a reference; give them by --references FILE, or "
            "submit with --map reference=COLUMN"
        )


def _number(value: float | None) -> str:
    return NONE if value is None else f"{value:.4g}"


def _gate(evaluation: JsonObject, rules: list[JsonObject]) -> Iterator[str]:
    """What came of each rule, which are answered in the order in which they were sent."""
    gate = evaluation["gate"]
    if not gate:
        return
    yield f"gate: {gate['status']}"
    for rule, verdict in zip(rules, gate["rules"], strict=True):
        bound = f"at least {rule['min']:g}" if "min" in rule else f"at most {rule['max']:g}"
        reason = f" ({verdict['reason']})" if verdict["reason"] else ""
        yield f"  {rule['metric']} {bound}: {verdict['status']}{reason}"
