"""Reads the lines of a text file as text: UTF-8, or UTF-16 by its mark or by the job's options."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import IO

from common.cooperate import Steps
from common.errors import InvalidRequest
from web.intake.lines import MOST_LINE, Unreadable, lines

BLOCK = 2**16  # bytes decoded at once
# UTF-32's first: the mark of its little-endian form begins with that of UTF-16.
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
ZIP = b"PK\x03\x04"  # how XLSX files begin, too
READABLE = "save the file as UTF-8, or as UTF-16 with format.encoding"


@dataclass(slots=True)
class TextLine:
    """A line with its end (`\\n`, `\\r\\n`, or none at the end of the file). `size` is its bytes.

    `fault` says why it cannot be decoded; then `text` is what comes before that place."""

    number: int
    text: str
    size: int
    fault: str | None = None


class TextFile:
    """A file whose first bytes were looked at: `encoding` is that of its mark, else the `wanted`
    one, else UTF-8."""

    def __init__(self, file: IO[bytes], wanted: str | None):
        head = file.read(4)
        if head == ZIP:
            message = "this is no text but a ZIP archive; if it is an Excel file, name it .xlsx"
            raise InvalidRequest(message, code="malformed_file", field="file")
        mark = next((mark for mark in MARKS if head.startswith(mark)), b"")
        self.encoding = _agreed(MARKS.get(mark), wanted, head)
        self._head = head[len(mark) :]
        self._file = file

    def raw_lines(self) -> Iterator[tuple[int, bytes]]:
        """The lines of a UTF-8 file as bytes, without their ends.

        Raises:
            Unreadable: at a line over the limit.
        """
        for number, raw in lines(self._file, self._head):
            yield number, raw.removesuffix(b"\n").removesuffix(b"\r")

    def __iter__(self) -> Iterator[TextLine]:
        """
        Raises:
            Unreadable: at a line over the limit.
        """
        if self.encoding != "utf-8":
            yield from self._wide_lines()
            return
        for number, raw in lines(self._file, self._head):
            try:
                yield TextLine(number, raw.decode(), len(raw))
            except UnicodeDecodeError as error:
                text = raw[: error.start].decode()
                fault = _undecodable(raw[error.start : error.start + 1], "UTF-8", number, text)
                yield TextLine(number, text, len(raw), fault)

    def _wide_lines(self) -> Iterator[TextLine]:
        """Lines of UTF-16, decoded a block at a time, so that a long line takes little memory."""
        decoder = codecs.getincrementaldecoder(self.encoding)()
        number, size, parts, steps = 1, 0, list[str](), Steps()
        source, ended = BytesIO(self._head), False
        while not ended:
            block = source.read(BLOCK) or self._file.read(BLOCK)
            ended, fault, bad = not block, "", b""
            try:
                text = decoder.decode(block, ended)
            except UnicodeDecodeError as error:
                text = bytes(error.object[: error.start]).decode(self.encoding)
                fault, bad = error.reason, bytes(error.object[error.start : error.start + 2])
            *whole, rest = text.split("\n")
            for part in whole:
                line = "".join([*parts, part, "\n"])
                yield TextLine(number, line, _size(number, line))
                number, size, parts = number + 1, 0, []
            parts.append(rest)
            size += len(rest.encode())
            if fault:
                text = "".join(parts)
                message = _undecodable(bad, "UTF-16", number, text)
                yield TextLine(number, text, size, message)
                return
            if size > MOST_LINE:
                raise _too_long(number)
            steps.step()
        if text := "".join(parts):
            yield TextLine(number, text, _size(number, text))


def _size(number: int, line: str) -> int:
    size = len(line.encode())
    if size > MOST_LINE + 2:
        raise _too_long(number)
    return size


def _too_long(number: int) -> Unreadable:
    return Unreadable(f"a line is longer than {MOST_LINE:,} bytes", number)


def _undecodable(bad: bytes, encoding: str, number: int, before: str) -> str:
    shown = f"0x{bad.hex()} is" if bad else "the end is"
    return f"{shown} not valid {encoding} at line {number}, column {len(before) + 1}; {READABLE}"


def _agreed(marked: str | None, wanted: str | None, head: bytes) -> str:
    """The encoding that the mark and the options agree on.

    Raises:
        InvalidRequest: they do not, or the encoding is not read.
    """
    if marked == "utf-32":
        message = f"the file is in UTF-32, which is not read; {READABLE}"
        raise InvalidRequest(message, code="unsupported_text_encoding", field="file")
    if marked and wanted and not marked.startswith(wanted):
        message = f"format.encoding is {wanted}, but the file begins with the mark of {marked}"
        raise InvalidRequest(message, code="invalid_value", field="format.encoding")
    if wanted == "utf-16" and not marked:
        # Text of most languages has zeros in the upper bytes.
        return "utf-16-be" if head[:1] == b"\0" else "utf-16-le"
    return marked or wanted or "utf-8"
