"""Reads uploaded files as drafts, a line at a time: JSONL, CSV, plain text and Parquet.

A file is read once from front to back and never held whole. An error in a line becomes the fault of
its draft. An error of the file as a whole is raised before the first draft, or is the fault of a
last draft, at the line where reading stopped. Blank lines are skipped; the lines after them keep
their numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath
from typing import IO

from common.errors import InvalidRequest
from web.intake.delimited import read_csv
from web.intake.drafts import Draft
from web.intake.lines import Blanks, Unreadable, lines
from web.intake.parquet import read_parquet
from web.intake.strict_json import BadJson, parse

FORMATS = "JSONL (.jsonl), CSV (.csv), text (.txt) or Parquet (.parquet)"


def read_upload(file: IO[bytes], filename: str, prompt_column: str = "prompt") -> Iterator[Draft]:
    """The drafts of a file; the end of its name says the format.

    Raises:
        InvalidRequest: the format is unknown, or a CSV or Parquet file lacks the prompts' column.
    """
    match PurePath(filename).suffix.lower():
        case ".jsonl" | ".ndjson":
            return _until_unreadable(_jsonl(file))
        case ".csv":
            return _until_unreadable(read_csv(file, prompt_column))
        case ".txt":
            return _until_unreadable(_text(file))
        case ".parquet":
            return _until_unreadable(read_parquet(file, prompt_column))
        case _:
            message = f"the file's name must say its format: {FORMATS}"
            raise InvalidRequest(message, status=415, code="unsupported_format", field="file")


def _until_unreadable(drafts: Iterator[Draft]) -> Iterator[Draft]:
    try:
        yield from drafts
    except Unreadable as end:
        yield end.draft()


def _jsonl(file: IO[bytes]) -> Iterator[Draft]:
    blanks = Blanks()
    for number, raw in lines(file):
        if not raw or raw.isspace():
            blanks.skip(number)
            continue
        try:
            yield Draft(parse(raw), line=number)
        except BadJson as error:
            yield Draft(fault=str(error), line=number)


def _text(file: IO[bytes]) -> Iterator[Draft]:
    blanks = Blanks()
    for number, raw in lines(file):
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            yield Draft(fault=f"not valid UTF-8 at byte {error.start + 1}", line=number)
            continue
        if not text or text.isspace():
            blanks.skip(number)
        else:
            yield Draft({"prompt": text}, line=number)
