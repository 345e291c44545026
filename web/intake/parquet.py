"""Reads Parquet files as drafts, a row at a time.

A Parquet file of some hundred bytes can hold gigabytes, and what its header says may be untrue. So
a process of its own decodes it (`parquet_reader.py`), within limits of memory and time that the
kernel enforces, and writes the rows as lines of JSON. Other requests are served meanwhile. Why so:
`docs/decisions/0012-parquet-readers.md`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import UnsupportedOperation
from pathlib import Path
from typing import IO, Any

from common.cooperate import Steps
from common.errors import InvalidRequest, Unavailable
from web.intake.columns import MOST_COLUMNS, Columns
from web.intake.drafts import Draft
from web.intake.lines import MOST_LINE

READER = Path(__file__).with_name("parquet_reader.py")
# Bytes of all rows together as JSON: a file of some KB may hold any number of them.
MOST_ROWS = 2**30
READERS = 1  # at once for this process: each may take 230 MB and twice the size of its file
PATIENCE = 300.0  # seconds a file waits for one of them
NO_PROMPTS = {
    "binary": "bytes, and prompts are text: write it as strings",
    "nested": (
        "lists or objects, and prompts are text: a chat is a column named messages, without "
        "prompt_column"
    ),
}

_readers = threading.BoundedSemaphore(READERS)


def read_parquet(file: IO[bytes], prompt_column: str) -> Iterator[Draft]:
    """A draft of each row. Nothing is read before the first is asked for.

    Raises:
        InvalidRequest: it is not a Parquet file, has no column of prompts, or pyarrow is not
        installed.
        Unavailable: other files are being read, as many as may be.
    """
    if importlib.util.find_spec("pyarrow") is None:
        message = (
            "this server has no pyarrow to read Parquet with: install it there, or send "
            "JSONL or CSV"
        )
        raise InvalidRequest(message, status=415, code="parquet_unavailable", field="file")
    return _drafts(file, prompt_column)


def _drafts(file: IO[bytes], prompt_column: str) -> Iterator[Draft]:
    with _reader_slot(), _reader(file) as values:
        header = next(values, {"fault": "this is not a Parquet file"})
        if "fault" in header:
            raise InvalidRequest(header["fault"], code="malformed_file", field="file")
        columns = Columns(header["names"], prompt_column)
        _refuse_no_prompts(columns, dict(zip(header["names"], header["kinds"], strict=True)))
        line, steps = 0, Steps()
        for line, row in enumerate(values, start=1):
            if row == "end":
                return
            yield (
                Draft(columns.item(row), line=line)
                if isinstance(row, list)
                else Draft(fault=row["fault"], line=line)
            )
            if isinstance(row, dict) and row["is_last"]:
                return
            steps.step()
        message = (
            "the Parquet file cannot be read from here on: it is damaged, or takes too much "
            "memory or time"
        )
        yield Draft(fault=message, line=line + 1)


def _refuse_no_prompts(columns: Columns, kinds: dict[str, str]) -> None:
    kind = kinds[str(columns.prompt)]
    if columns.input == "prompt" and kind in NO_PROMPTS:
        message = f"the column {str(columns.prompt)[:64]} has {NO_PROMPTS[kind]}"
        raise InvalidRequest(message, code="invalid_header", field="file")


@contextmanager
def _reader_slot() -> Iterator[None]:
    if not _readers.acquire(timeout=PATIENCE):
        raise Unavailable(
            "other Parquet files are being read here; try again, or send JSONL or CSV"
        )
    try:
        yield
    finally:
        _readers.release()


@contextmanager
def _reader(file: IO[bytes]) -> Iterator[Iterator[Any]]:
    """The values that a reader writes about the file, one by one, while it reads on. It is ended
    with the context."""
    with _on_disk(file) as source:
        command = [
            sys.executable,
            "-P",
            str(READER),
            *map(str, (MOST_COLUMNS, MOST_LINE, MOST_ROWS)),
        ]
        process = subprocess.Popen(
            command, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert process.stdout
        try:
            yield map(json.loads, process.stdout)
        finally:
            process.kill()
            process.stdout.close()
            process.wait()


@contextmanager
def _on_disk(file: IO[bytes]) -> Iterator[IO[bytes]]:
    """The file on disk, where another process can read it: small uploads are in memory."""
    file.seek(0)
    try:
        file.fileno()
    except UnsupportedOperation:
        with tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(file, copy)
            copy.flush()
            os.lseek(copy.fileno(), 0, os.SEEK_SET)
            yield copy
    else:
        file.flush()
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        yield file
