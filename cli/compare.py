"""`promptmill compare`: jobs of the same items compared by their scores."""

from __future__ import annotations

import json
import time

import click

from cli.client import Client, RequestRefused, open_client
from cli.commands import Command
from cli.folder import DataFolder, data_option
from cli.terminal import print_line
from common.types import JsonObject

WAIT = 30  # seconds that one request waits
PAUSE = 1.0  # seconds between two requests, where the server does not wait
REASONS = {
    "no_custom_ids": "not all items have a custom_id",
    "duplicate_custom_ids": "custom_ids occur twice",
    "not_in_all": "not all jobs were evaluated by it",
    "signatures_differ": "it was computed in different ways",
}


@click.command(cls=Command)
@click.argument("baseline")
@click.argument("job_ids", metavar="JOB…", nargs=-1, required=True)
@click.option("--metric", "metrics", multiple=True, help="Only this metric; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print the server's answer as JSON.")
@data_option
def compare(
    baseline: str,
    job_ids: tuple[str, ...],
    metrics: tuple[str, ...],
    as_json: bool,
    folder: DataFolder,
) -> None:
    """Compare one to three jobs with a baseline, on the items that all have.

    The jobs must be over and evaluated. A difference is a job's score less the baseline's, with an
    interval of 95 % and a p-value that is corrected for the number of metrics and jobs.
    """
    with open_client(folder) as client:
        found = computed(client, (baseline, *job_ids))
    names = [each["metric"] for each in found["metrics"]]
    if unknown := [name for name in metrics if name not in names]:
        raise RequestRefused(
            f"{unknown[0]} is not in this comparison; it has {', '.join(names) or 'no metric'}"
        )
    if metrics:
        found["metrics"] = [each for each in found["metrics"] if each["metric"] in metrics]
    if as_json:
        print_line(json.dumps(found, ensure_ascii=False, indent=2))
    else:
        for line in lines(found):
            print_line(line)


def computed(client: Client, job_ids: tuple[str, ...]) -> JsonObject:
    """The comparison, once it is computed; evaluations that go on are waited for, too."""
    told = ""
    while True:
        waits = "the comparison waits for an evaluator"
        try:
            found = client.comparison(",".join(job_ids), WAIT)
            if found["status"] == "done":
                return found
        except RequestRefused as refusal:
            if refusal.code != "evaluation_not_over":
                raise
            waits = "the jobs are still being evaluated"
        if waits != told:
            print_line(waits, err=True)
            told = waits
        time.sleep(PAUSE)


def lines(found: JsonObject) -> list[str]:
    """What people read."""
    table = _table(found) if found["metrics"] else [_nothing_in_common(found)]
    return [*_jobs(found), "", *table, *_left_out(found), *_settings(found)]


def _nothing_in_common(found: JsonObject) -> str:
    used = ", ".join(job["evaluation"] for job in found["jobs"])
    return (
        f"no metric in common: of each job the newest evaluation counts ({used}); "
        "`promptmill evaluate JOB --metric NAME` makes another"
    )


def _jobs(found: JsonObject) -> list[str]:
    matched = found["matched"]
    said = [
        f"{'baseline:' if place == 0 else 'job:':<10}{job['id']}  {job['model']}"
        + (f"  {job['name']}" if job["name"] else "")
        + (f"  {job['run_s']['p50']:.3g} s, " if job["run_s"] else "  ")
        + (f"{job['tokens']['p50']:.4g} tokens an item (medians)" if job["tokens"] else "")
        for place, job in enumerate(found["jobs"])
    ]
    why = f", because {REASONS[matched['reason']]}" if matched["reason"] else ""
    rows = f"{'rows:':<10}{matched['rows']:,} matched by {matched['by']}{why}; "
    rows += f"{matched['succeeded']:,} have a result in all jobs, "
    rows += f"in {matched['changed']:,} an output differs"
    unlike = matched.get("unlike_references")
    warned = [f"{'':<10}{unlike:,} were not compared with the same references"] if unlike else []
    return [*(line.rstrip() for line in said), rows, *warned]


def _table(found: JsonObject) -> list[str]:
    heads = ("metric", "job", "n", "value", "difference", "95 %", "p (Holm)", "better/same/worse")
    rows: list[tuple[str, ...]] = [heads]
    for each in found["metrics"]:
        for place, job in enumerate(each["jobs"]):
            name = each["metric"] if place == 0 else ""
            rows.append((name, str(place or "base"), f"{each['n']:,}", *_cells(job)))
    widths = [max(len(row[at]) for row in rows) for at in range(len(heads))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _cells(job: JsonObject) -> tuple[str, ...]:
    apart = job["difference"]
    if apart is None:
        return _number(job["value"]), "", "", "", ""
    told = apart["low"] is not None
    counts = (apart[name] for name in ("wins", "ties", "losses"))
    return (
        _number(job["value"]),
        _number(apart["value"], "+"),
        f"{_number(apart['low'], '+')} to {_number(apart['high'], '+')}"
        if told
        else "under 20 rows",
        f"{apart['p']:.4f} ({apart['p_holm']:.4f})" if told else "",
        "/".join(f"{count:,}" for count in counts) if apart["wins"] is not None else "",
    )


def _number(value: float | None, sign: str = "") -> str:
    return "–" if value is None else f"{value:{sign}.4f}"


def _left_out(found: JsonObject) -> list[str]:
    return [
        f"left out: {each['metric']}, because {REASONS[each['reason']]}"
        for each in found["left_out"]
    ]


def _settings(found: JsonObject) -> list[str]:
    page = f"{'page:':<10}{found['links']['page']}"
    if not found["settings"]:
        return ["", "The jobs have the same settings.", page]
    return [
        "",
        "Settings that differ:",
        *(
            f"  {each['name']}: " + " | ".join(_short(value) for value in each["values"])
            for each in found["settings"]
        ),
        page,
    ]


def _short(value: object, most: int = 80) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= most else f"{text[:most]}…"
