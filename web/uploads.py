"""Uploaded files as drafts, a line at a time: JSONL, CSV, plain text and Parquet.

A file is read once from front to back and never held whole. What is wrong with a line becomes that draft's fault; what
is wrong with the file as such is raised before the first draft, or ends the drafts with a fault where reading stopped.
"""

from __future__ import annotations

import csv
import difflib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import IO, Any

from common.errors import InvalidRequest
from common.types import OTHER_NAMES, SamplingParams
from web.drafts import Draft
from web.explain import unknown_name
from web.strict_json import BadJson, parse

MOST_LINE = 4 * 2**20  # bytes of one line: what keeps memory flat when a file has no line breaks
MOST_METADATA = 16
ROWS = 256  # of a Parquet file read at once
BOM = b"\xef\xbb\xbf"
TEXT_PARAMS = {"stop", "bad_words"}  # a cell of these is one string unless it is a JSON list
FORMATS = "JSONL (.jsonl), CSV (.csv), text (.txt) or Parquet (.parquet)"

csv.field_size_limit(MOST_LINE)


def read_upload(file: IO[bytes], filename: str, prompt_column: str = "prompt") -> Iterator[Draft]:
    """The drafts of a file, whose format its name says.

    Raises:
        InvalidRequest: a format we do not read, or a CSV or Parquet file without the prompts' column.
    """
    match PurePath(filename).suffix.lower():
        case ".jsonl" | ".ndjson":
            return _jsonl(file)
        case ".csv":
            return _csv(file, prompt_column)
        case ".txt":
            return _text(file)
        case ".parquet":
            return _parquet(file, prompt_column)
        case _:
            message = f"the file's name must say its format: {FORMATS}"
            raise InvalidRequest(message, status=415, code="unsupported_format", field="file")


def _lines(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers, without line ends. A line over the limit ends the file."""
    number = 0
    while raw := file.readline(MOST_LINE + 2):
        number += 1
        if number == 1:
            raw = raw.removeprefix(BOM)
        if len(raw) > MOST_LINE:
            raise _Unreadable(f"a line is longer than {MOST_LINE:,} bytes", number)
        yield number, raw.removesuffix(b"\n").removesuffix(b"\r")


class _Unreadable(Exception):
    """Nothing more of the file can be read from this line on."""

    def __init__(self, message: str, line: int):
        super().__init__(message)
        self.line = line

    def draft(self) -> Draft:
        return Draft(fault=str(self), line=self.line)


def _jsonl(file: IO[bytes]) -> Iterator[Draft]:
    try:
        for number, raw in _lines(file):
            if not raw or raw.isspace():
                yield Draft(fault="the line is blank", line=number)
                continue
            try:
                yield Draft(parse(raw), line=number)
            except BadJson as error:
                yield Draft(fault=str(error), line=number)
    except _Unreadable as end:
        yield end.draft()


def _text(file: IO[bytes]) -> Iterator[Draft]:
    try:
        for number, raw in _lines(file):
            try:
                text = raw.decode()
            except UnicodeDecodeError as error:
                yield Draft(fault=f"not valid UTF-8 at byte {error.start + 1}", line=number)
                continue
            fault = None if text.strip() else "the line is blank"
            yield Draft({"prompt": text}, line=number, fault=fault)
    except _Unreadable as end:
        yield end.draft()


def _csv(file: IO[bytes], prompt_column: str) -> Iterator[Draft]:
    reader = csv.reader(_decoded(file), strict=True)
    try:
        header = next(reader, None)
    except (csv.Error, _Unreadable) as error:
        raise InvalidRequest(f"the CSV's header cannot be read: {error}", field="file", line=1) from None
    if header is None:
        return iter(())
    return _csv_rows(reader, _Columns(header, prompt_column))


def _csv_rows(reader: Any, columns: _Columns) -> Iterator[Draft]:
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield Draft(fault=f"not valid CSV: {error}", line=line)
            return
        except _Unreadable as end:
            yield end.draft()
            return
        if cells is None:
            return
        if not cells:
            yield Draft(fault="the line is blank", line=line)
        elif len(cells) != len(columns.names):
            yield Draft(fault=f"has {len(cells)} cells where the header has {len(columns.names)}", line=line)
        else:
            yield Draft(columns.item([_cell(*pair) for pair in zip(columns.names, cells, strict=True)]), line=line)


def _decoded(file: IO[bytes]) -> Iterator[str]:
    for number, raw in _lines(file):
        try:
            yield raw.decode() + "\n"
        except UnicodeDecodeError as error:
            raise _Unreadable(f"not valid UTF-8 at byte {error.start + 1}", number) from None


def _cell(name: str, text: str) -> Any:
    """A cell of a decoding setting as JSON has it; None where it is empty. All others are text."""
    if name not in SamplingParams.model_fields:
        return text
    if text == "":
        return None
    if name in TEXT_PARAMS and not text.startswith("["):
        return text
    try:
        return parse(text)
    except BadJson:
        return text


def _parquet(file: IO[bytes], prompt_column: str) -> Iterator[Draft]:
    try:
        import pyarrow as pa  # type: ignore[import-untyped]
        from pyarrow import parquet
    except ImportError:
        message = "this server has no pyarrow to read Parquet with: install it there, or send JSONL or CSV"
        raise InvalidRequest(message, status=415, code="parquet_unavailable", field="file") from None
    try:
        source = parquet.ParquetFile(file)
    except (pa.ArrowException, OSError):
        raise InvalidRequest("this is not a Parquet file", code="malformed_file", field="file") from None
    return _parquet_rows(source, _Columns(source.schema_arrow.names, prompt_column), (pa.ArrowException, OSError))


def _parquet_rows(source: Any, columns: _Columns, broken: tuple[type[Exception], ...]) -> Iterator[Draft]:
    number = 0
    try:
        for batch in source.iter_batches(batch_size=ROWS):
            for cells in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                number += 1
                yield Draft(columns.item(cells), line=number)
    except broken:
        yield Draft(fault="the Parquet file is damaged from here on", line=number + 1)


class _Columns:
    """What each column of a table is: the prompt, the custom_id, a decoding setting, or metadata to hand back."""

    def __init__(self, names: Sequence[str], prompt_column: str):
        self.names = list(names)
        self._prompt = prompt_column
        if prompt_column not in self.names:
            message = (
                f"there is no column {prompt_column[:64]!r}; name the prompts' column as prompt_column: "
                f"the file has {', '.join(self.names)[:300]}"
            )
            raise InvalidRequest(message, code="missing_column", field="prompt_column")
        repeated = [name for name, count in Counter(self.names).items() if count > 1]
        if repeated:
            raise InvalidRequest(f"several columns are named {repeated[0][:64]!r}", code="invalid_header", field="file")
        metadata = [name for name in self.names if self._is_metadata(name)]
        if len(metadata) > MOST_METADATA:
            message = (
                f"columns that are no setting are kept as the items' metadata, at most {MOST_METADATA}; "
                f"the file has {len(metadata)}"
            )
            raise InvalidRequest(message, code="invalid_header", field="file")
        for name in metadata:
            if name in OTHER_NAMES or difflib.get_close_matches(name, SamplingParams.model_fields, n=1, cutoff=0.85):
                message = f"the column {name} {unknown_name(name, SamplingParams.model_fields)}"
                raise InvalidRequest(message, code="unknown_field", field="file")

    def _is_metadata(self, name: str) -> bool:
        return name not in (self._prompt, "custom_id") and name not in SamplingParams.model_fields

    def item(self, cells: Sequence[Any]) -> dict[str, Any]:
        """An item's fields; empty cells of settings and ids are not given."""
        found: dict[str, Any] = {}
        params, metadata = {}, {}
        for name, value in zip(self.names, cells, strict=True):
            if name == self._prompt:
                found["prompt"] = value
            elif name == "custom_id":
                if value not in (None, ""):
                    found["custom_id"] = str(value) if isinstance(value, int) else value
            elif name in SamplingParams.model_fields:
                if value is not None:
                    params[name] = value
            else:
                metadata[name] = value
        return found | ({"params": params} if params else {}) | ({"metadata": metadata} if metadata else {})
