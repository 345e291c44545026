"""CSV and TSV files, and how the result of any file is written."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from promptmill.errors import TableError

DELIMITERS = ",;\t|"
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# The first two bytes of UTF-16 without a mark, of which each is a character of ASCII.
HALF = re.compile(rb"[\1-\x7f]\0|\0[\1-\x7f]")
HALVES = "the file looks like UTF-16 without a byte order mark; save it as UTF-8"
NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")


class DelimitedFile:
    """CSV or TSV: every cell is text exactly as written, and a cell of nothing has no value."""

    def __init__(self, path: Path, target: Path):
        self._target = target
        raw = path.read_bytes()
        self._encoding = encoding_of(raw)
        text = decoded(path, raw, self._encoding)
        self._end = "\r\n" if "\r\n" in text[:65536] else "\n"
        self._delimiter = "\t" if path.suffix.lower() == ".tsv" else _delimiter(text)
        csv.field_size_limit(sys.maxsize)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=self._delimiter, strict=True)
        try:
            self.columns = next(reader, [])
            self._rows = [row for row in reader if row]
        except csv.Error as error:
            raise TableError(f"{path}, line {reader.line_num}: {error}") from None
        if not self.columns:
            raise TableError(f"{path} is empty; its first line must name the columns")
        if any("\0" in name for name in self.columns):
            raise TableError(f"{path}, line 1: {HALVES}")
        for number, row in enumerate(self._rows, 1):
            if len(row) > len(self.columns):
                raise TableError(
                    f"{path}, row {number}: {len(row)} cells, and the header has "
                    f"{len(self.columns)}; is a quote missing?"
                )
            if len(row) == len(self.columns) and row[-1] and not self.columns[-1]:
                raise TableError(
                    f"{path}, row {number}: the last cell has a value, and its column has no name; "
                    "name it in the header, or empty it"
                )

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self) -> Iterator[Mapping[str, Any]]:
        for row in self._rows:
            yield dict(zip(self.columns, row, strict=False))  # a short row has no value there

    def with_columns(self, added: Mapping[str, Sequence[Any]]) -> Path:
        width = len(self.columns)
        with replaced(self._target) as partial:
            file = partial.open("w", encoding=self._encoding, newline="")
            with file:
                writer = csv.writer(file, delimiter=self._delimiter, lineterminator=self._end)
                writer.writerow([*self.columns, *added])
                for row, *values in zip(self._rows, *added.values(), strict=True):
                    padded = row + [""] * (width - len(row))
                    writer.writerow([*padded, *(_cell(value) for value in values)])
        return self._target


def encoding_of(beginning: bytes) -> str:
    """The encoding of a file that begins so: by its mark; without one UTF-8, or UTF-16 where its
    first character shows that."""
    for mark, name in MARKS:
        if beginning.startswith(mark):
            return name
    if HALF.match(beginning):
        return "utf-16-be" if beginning[0] == 0 else "utf-16-le"
    return "utf-8"


def decoded(path: Path, raw: bytes, encoding: str) -> str:
    """The text of a file.

    Raises:
        TableError: it has another encoding; naming the line.
    """
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - (raw.rfind(b"\n", 0, error.start) + 1) + 1
        hint = HALVES if b"\0" in raw[:65536] else "save it as UTF-8"
        raise TableError(
            f"{path}, line {line}: its byte {column} is not {encoding}; {hint}"
        ) from None


def _delimiter(text: str) -> str:
    """The one that the header has most of, outside of quotes."""
    header = re.sub(r'"[^"]*"', "", text[:65536]).partition("\n")[0]
    return max(DELIMITERS, key=header.count)


def text_of(value: Any) -> str:
    """An output as the text of a cell; several outputs are a JSON list."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cell(value: Any) -> str:
    """The text of a cell that no spreadsheet takes for a formula, as the server's CSV has it."""
    text = text_of(value)
    risky = text.startswith(("=", "+", "-", "@", "\t", "\r")) and not NUMBER.fullmatch(text)
    return f"'{text}" if risky else text


@contextmanager
def replaced(target: Path) -> Iterator[Path]:
    """A path to write to, which takes the target's place when all is written."""
    partial = target.with_name(f".{target.name}.partial")
    try:
        yield partial
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
