"""`promptmill submit`: makes a job, a preview or a sweep of a file, or a job of jobs' rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cli.client import Client, RequestRefused, open_client
from cli.commands import Command
from cli.folder import DataFolder, data_option
from cli.other_jobs import derived, refuse_unfit
from cli.sent_options import (
    add_output,
    once,
    parse_choice,
    parse_clean,
    parse_format,
    parse_map,
    parse_metric_list,
    parse_params,
    parse_regex,
    parse_schema,
    parse_sweep,
    parse_text,
    parse_truncate,
)
from cli.terminal import print_line
from common.types import JsonObject

NO_ROWS = "the file has no rows"
# What the API's errors call a field, and what the command line calls it.
SPELLED = (
    (
        "as columns.prompt (or prompt_column), or give a template",
        "with --map prompt=COLUMN, or give a --template",
    ),
    ("name a model, there are several", "name one with --model, there are several"),
    ("say so in format.encoding", "say so with --format encoding=utf-16"),
    ("as UTF-16 with format.encoding", "as UTF-16 with --format encoding=utf-16"),
    ("format.encoding", "--format encoding"),
    ("format.sheet", "--format sheet"),
    ("format.delimiter", "--format delimiter"),
    ("a job needs at least one item", NO_ROWS),
    ('"params": {"logprobs": 0}', "--param logprobs=0"),
    ("GET /v1/presets lists those there are", "the page that submits jobs lists them"),
)
# Faults of a row, after which the other rows can run.
BAD_ROWS_HINT = "; with --bad-rows fail the other rows run, and these are failed items"
PREVIEW_ROWS = 3
MOST_NAME = 128  # characters of a job's name


@click.command(cls=Command)
@click.argument(
    "file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option(
    "--input-from",
    "sources",
    multiple=True,
    metavar="JOB",
    help="In place of FILE: make the job of this job's rows, when it is over. --template has "
    "{{output}} for what was generated; of two jobs, given one after the other, {{output_a}} and "
    "{{output_b}}.",
)
@click.option(
    "--judge",
    type=click.Choice(["pairs", "scale"]),
    help="With --input-from: judge which of two outputs is better, in both orders, or grade those "
    "of one job.",
)
@click.option("--model", help="Model; may be left out if the server has only one.")
@click.option(
    "--template",
    multiple=True,
    callback=parse_text,
    metavar="TEXT|@FILE",
    help="What is asked of each row; {{name}} stands for its value in that column.",
)
@click.option(
    "--system",
    multiple=True,
    callback=parse_text,
    metavar="TEXT|@FILE",
    help="System message before it.",
)
@click.option(
    "--chat/--plain",
    default=None,
    help="Ask the template as a chat's question, or continue it as text. A question, if the model "
    "has chats.",
)
@click.option(
    "--map",
    "columns",
    multiple=True,
    callback=parse_map,
    metavar="FIELD=COLUMN",
    help="What a column is: FIELD is prompt, custom_id, reference or params.NAME; may be given "
    "several times.",
)
@click.option(
    "--format",
    "format",
    multiple=True,
    callback=parse_format,
    metavar="NAME=VALUE",
    help="How the file is read: delimiter, encoding or sheet; may be given several times.",
)
@click.option(
    "--preset",
    multiple=True,
    callback=once,
    metavar="NAME[@VERSION]",
    help="Template and parameters to start from.",
)
@click.option(
    "--param",
    "params",
    multiple=True,
    callback=parse_params,
    metavar="NAME=VALUE",
    help="A decoding parameter; may be given several times.",
)
@click.option(
    "--json-schema",
    multiple=True,
    callback=parse_schema,
    metavar="JSON|@FILE",
    help="The text must be JSON that is valid by this JSON Schema.",
)
@click.option(
    "--choice",
    multiple=True,
    callback=parse_choice,
    metavar="LABEL,LABEL",
    help="The text must be one of these labels; a JSON list, if they have commas.",
)
@click.option(
    "--regex",
    multiple=True,
    callback=parse_regex,
    metavar="PATTERN",
    help="The text must be matched by this regular expression.",
)
@click.option(
    "--sweep",
    multiple=True,
    callback=parse_sweep,
    metavar="NAME=VALUE,VALUE",
    help="A parameter with several values: a job for each. Prints an id for each.",
)
@click.option(
    "--clean",
    multiple=True,
    callback=parse_clean,
    metavar="STEP,STEP",
    help="Clean the rows' texts: encoding, unicode, html, controls, whitespace.",
)
@click.option(
    "--truncate",
    multiple=True,
    callback=parse_truncate,
    metavar="TOKENS[:KEEP[:COLUMN]]",
    help="Cut long texts: 512:start:text keeps the first 512 tokens of the column text; fit: what "
    "the model has room for; start, end or both.",
)
@click.option(
    "--bad-rows",
    type=click.Choice(["refuse", "fail"]),
    help="Rows that cannot run: refuse the file and list them (the default), or run the others.",
)
@click.option(
    "--metrics",
    multiple=True,
    callback=parse_metric_list,
    metavar="NAME,NAME",
    help="Score the outputs by these when the job is done; a JSON list, if one has options.",
)
@click.option("--webhook", help="URL that gets an event when the job is finished.")
@click.option("--preview", is_flag=True, help="Show the first prompts, and submit nothing.")
@data_option
def submit(
    file: Path | None,
    sources: tuple[str, ...],
    judge: str | None,
    folder: DataFolder,
    sweep: JsonObject,
    preview: bool,
    template: str | None,
    system: str | None,
    chat: bool | None,
    json_schema: JsonObject | None,
    choice: JsonObject | None,
    regex: JsonObject | None,
    **given: Any,
) -> None:
    """Submit FILE as a job and print the job's id.

    FILE is CSV, TSV, XLSX, Parquet, JSONL or TXT. A table needs --template, a column `prompt`, or
    --map prompt=COLUMN. With --input-from the rows are those of other jobs.
    """
    refuse_unfit(file, sources, judge, given | {"sweep": sweep, "preview": preview})
    if (system or chat is not None) and template is None:
        raise click.UsageError("--system, --chat and --plain are about --template; give one")
    options: JsonObject = {name: value for name, value in given.items() if value}
    add_output(options, sweep, [json_schema, choice, regex])
    if file is not None:
        options["metadata"] = {"name": file.name[:MOST_NAME]}
    if given["webhook"]:
        options["webhook"] = {"url": given["webhook"]}
    with open_client(folder) as client:
        if template is not None:
            if chat is None:
                chat = bool(system) or _has_chats(client, given["model"])
            options["template"] = _template(template, system, chat)
        try:
            if file is None:
                print_line(client.submit(options | derived(sources, judge))["id"])
            else:
                _send(client, file, options, sweep, preview)
        except RequestRefused as error:
            raise RequestRefused(_spelled(error, bool(options.get("bad_rows")))) from None


def _spelled(error: RequestRefused, bad_rows: bool) -> str:
    """The refusal with the command line's names of the fields."""
    message = error.message
    for field, option in SPELLED:
        message = message.replace(field, option)
    if error.of_rows and not bad_rows:
        message += BAD_ROWS_HINT
    return message


def _send(
    client: Client, file: Path, options: JsonObject, sweep: JsonObject, preview: bool
) -> None:
    if preview:
        answer = client.upload(file, options, f"/v1/jobs/preview?rows={PREVIEW_ROWS}")
        if not answer["rows"]:
            raise RequestRefused(NO_ROWS)
        for row in answer["rows"]:
            _show_row(row)
        if len(answer["rows"]) == PREVIEW_ROWS:
            print_line(f"These are the first {PREVIEW_ROWS} rows; submit checks all.", err=True)
    elif sweep:
        made = client.upload(file, options | {"sweep": sweep}, "/v1/sweeps")
        count = len(made["jobs"])
        print_line(f"{made['id']}: {count} job{'s' if count > 1 else ''}", err=True)
        for job in made["jobs"]:
            values = ", ".join(f"{name}={value}" for name, value in job["params"].items())
            print_line(f"{job['id']}: {values}", err=True)
            print_line(job["id"])
    else:
        print_line(client.upload(file, options)["id"])


def _show_row(row: JsonObject) -> None:
    name = f"line {row['line']}" if row.get("line") else "row"
    if row.get("custom_id"):
        name += f" ({row['custom_id']})"
    notes = [f"{row['prompt_tokens']} tokens"] if row.get("prompt_tokens") is not None else []
    if row.get("truncated_tokens"):
        notes.append(f"{row['truncated_tokens']} cut")
    print_line(f"{name}: {', '.join(notes)}".rstrip(": "), bold=True)
    for error in row.get("errors") or []:
        print_line(f"  {error['message']}", fg="red")
    if row.get("text") is not None:
        print_line(f"{row['text']}\n")


def _has_chats(client: Client, model: str | None) -> bool:
    """Whether the model, or the only one, has a chat template."""
    entries = [entry for entry in client.models() if entry["id"] == model or not model]
    own = [entry for entry in entries if model or not entry["alias_of"]]
    return len(own) == 1 and bool(own[0]["card"]["chat_template"])


def _template(text: str, system: str | None, chat: bool) -> JsonObject:
    if not chat and not system:
        return {"prompt": text}
    first = [{"role": "system", "content": system}] if system else []
    return {"messages": [*first, {"role": "user", "content": text}]}
