"""Runs the reader of a file in a process of its own, and passes on what it writes.

Files of some formats (Parquet, XLSX) can hold thousands of times their size, and what they say of
themselves may be untrue. So a process of its own decodes each within limits of memory and time that
the kernel enforces, and writes its rows as lines of JSON. Other requests are served meanwhile. Why
so: `docs/decisions/0012-parquet-readers.md`.
"""

from __future__ import annotations

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
from common.errors import ErrorDict, InvalidRequest, Unavailable
from web.intake.drafts import MALFORMED, Draft

# Bytes of all rows together as JSON: a file of some KB may hold any number of them.
MOST_ROWS = 2**30
READERS = 1  # at once for this process: each may take 230 MB and twice the size of its file
PATIENCE = 300.0  # seconds a file waits for one of them

MALFORMED_FILE = "malformed_file"
ROOT = Path(__file__).parents[2]  # what the readers import their modules from

_readers = threading.BoundedSemaphore(READERS)


class FileReader:
    """What a reader writes about a file: its header first, then its rows."""

    def __init__(self, values: Iterator[Any], kind: str):
        self._values = values
        self._kind = kind
        article = "an" if kind.startswith("X") else "a"
        self.header = self._read_header(f"this is not {article} {kind} file")

    def next_header(self) -> dict[str, Any]:
        """What is known of the file once more of it was decoded."""
        return self._read_header(
            f"the {self._kind} file is damaged, or takes too much memory or time"
        )

    def _read_header(self, otherwise: str) -> dict[str, Any]:
        header: dict[str, Any] = next(self._values, {"fault": otherwise})
        if "fault" in header:
            code, field = header.get("code", MALFORMED_FILE), header.get("field", "file")
            raise InvalidRequest(header["fault"], code=code, field=field)
        return header

    def rows(self) -> Iterator[tuple[int, list[Any] | Draft]]:
        """Each row with its line; in place of one that cannot be read a draft that says why. Its
        value is the list of its cells, as far as they are known."""
        line, steps = 0, Steps()
        for value in self._values:
            if value == "end":
                return
            if isinstance(value, int):  # the line of the next row, where lines were left out
                line = value - 1
                continue
            line += 1
            if isinstance(value, list):
                yield line, value
            elif value["is_last"]:
                yield line, Draft(fault=value["fault"], line=line)
                return
            else:
                why: ErrorDict = {"code": MALFORMED, "message": value["fault"]}
                yield line, Draft(value.get("cells", []), line=line, refused=why)
            steps.step()
        message = (
            f"the {self._kind} file cannot be read from here on: it is damaged, or takes too much "
            "memory or time"
        )
        yield line + 1, Draft(fault=message, line=line + 1)


@contextmanager
def file_reader(
    module: str, file: IO[bytes], kind: str, *arguments: object
) -> Iterator[FileReader]:
    """The reader of this file, a process that runs `module`; it ends with the context. `kind` is
    that of its files.

    Raises:
        InvalidRequest: the file is of no such kind.
        Unavailable: other files are being read, as many as may be.
    """
    with _slot(), _on_disk(file) as source:
        command = [sys.executable, "-P", "-m", module, *map(str, arguments)]
        process = subprocess.Popen(
            command,
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert process.stdout
        try:
            yield FileReader(map(json.loads, process.stdout), kind)
        finally:
            process.kill()
            process.stdout.close()
            process.wait()


@contextmanager
def _slot() -> Iterator[None]:
    if not _readers.acquire(timeout=PATIENCE):
        raise Unavailable(
            "other Parquet and XLSX files are being read here; try again, or send JSONL or CSV"
        )
    try:
        yield
    finally:
        _readers.release()


@contextmanager
def _on_disk(file: IO[bytes]) -> Iterator[IO[bytes]]:
    """The file on disk, where another process can read it: small uploads are in memory, and stored
    files in Redis."""
    if file.seekable():
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
