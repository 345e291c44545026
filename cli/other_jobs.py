"""Options of `promptmill submit` for a job of other jobs' rows: `--input-from` and `--judge`."""

from __future__ import annotations

from pathlib import Path

import click

from common.types import JsonObject

# Options that are about a file.
OF_FILES = {
    "columns": "--map",
    "format": "--format",
    "bad_rows": "--bad-rows",
    "sweep": "--sweep",
    "preview": "--preview",
}


def refuse_unfit(
    file: Path | None, sources: tuple[str, ...], judge: str | None, given: JsonObject
) -> None:
    """Refuse options that do not go together, or have no effect."""
    if (file is None) != bool(sources):
        raise click.UsageError("give either FILE or --input-from")
    if file is not None and judge:
        raise click.UsageError("--judge is about outputs of other jobs; give --input-from")
    unfit = [] if file else [option for name, option in OF_FILES.items() if given[name]]
    if unfit:
        raise click.UsageError(f"{unfit[0]} is about FILE, and has no effect on --input-from")


def derived(sources: tuple[str, ...], judge: str | None) -> JsonObject:
    """The fields of a job of these jobs' rows."""
    found: JsonObject = {"input_from": {"jobs": list(sources)}}
    return found | ({"judge": judge} if judge else {})
