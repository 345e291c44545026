"""Finds the cells of a sheet that its decoder takes for empty and that are not: formulas whose
values were not stored, since libraries that write XLSX files compute nothing, and errors (#N/A).

Runs in the process of `xlsx_reader.py`, and imports nothing of this project.
"""

from __future__ import annotations

import posixpath
import re
import sys
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from html import unescape
from typing import IO

MOST_PARTS = 2**24  # bytes of the parts that name the sheets
BLOCK = 2**20  # bytes of the sheet that are looked at together
LONGEST = 2**16  # bytes of a formula's cell
SHEET = re.compile(rb"<(?:\w+:)?sheet\b([^<>]*)>")
RELATION = re.compile(rb"<(?:\w+:)?Relationship\b([^<>]*)>")
ATTRIBUTE = re.compile(rb"""([\w:]+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
# A cell with a formula and without a value. A formula whose value is an empty text has `t="str"`.
FORMULA = re.compile(
    rb"<(?:\w+:)?c\b([^<>]*)>\s*<(?:\w+:)?f\b[^<>]*?(?:/>|>[^<]*</(?:\w+:)?f>)\s*"
    rb"(?:<(?:\w+:)?v\s*/>|<(?:\w+:)?v>\s*</(?:\w+:)?v>)?\s*</(?:\w+:)?c>"
)
# A cell whose value is an error, with a formula or without.
ERROR = re.compile(
    rb"""<(?:\w+:)?c\b([^<>]*\bt\s*=\s*["']e["'][^<>]*)>\s*"""
    rb"(?:<(?:\w+:)?f\b[^<>]*?(?:/>|>[^<]*</(?:\w+:)?f>)\s*)?<(?:\w+:)?v>([^<]{1,64})</"
)
PLACE = re.compile(r"([A-Z]{1,3})(\d{1,7})")


@dataclass
class Cells:
    """`formulas` are those without a value: the place of the first (`C3`), by line. `errors` are
    their texts, by line and by column from 0."""

    formulas: dict[int, str] = field(default_factory=dict)
    errors: dict[int, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))


def cells_taken_for_empty(file: IO[bytes], sheet: str) -> Cells:
    """What cannot be read has none: whoever decodes the sheet says so."""
    found = Cells()
    with suppress(zipfile.BadZipFile, OSError, EOFError, ValueError, KeyError):
        archive = zipfile.ZipFile(file)
        with archive.open(_part_of(archive, sheet)) as part:
            for cell, error in _cells(part):
                attributes = _attributes(cell)
                place = PLACE.fullmatch(attributes.get("r", ""))
                if place and error is not None:
                    # Few texts, each kept once however many cells have it.
                    text = sys.intern(unescape(error.decode()))
                    found.errors[int(place[2])][_column(place[1])] = text
                elif place and attributes.get("t") != "str":
                    found.formulas.setdefault(int(place[2]), place[0])
    return found


def _column(letters: str) -> int:
    """0 for A, 26 for AA."""
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number - 1


def _cells(part: IO[bytes]) -> Iterator[tuple[bytes, bytes | None]]:
    """The attributes of the cells that have a formula and no value, or an error, with that. A cell
    may come twice."""
    rest = b""
    while block := part.read(BLOCK):
        text = rest + block
        at = 0
        # Most sheets have no formulas: a search for two bytes is much faster than the pattern.
        for cell in FORMULA.finditer(text) if b"<f" in text or b":f" in text else ():
            yield cell[1], None
            at = cell.end()
        for cell in ERROR.finditer(text) if b'"e"' in text or b"'e'" in text else ():
            yield cell[1], cell[2]
        rest = text[max(at, len(text) - LONGEST) :]  # a cell may go on in the next block


def _part_of(archive: zipfile.ZipFile, sheet: str) -> str:
    """The name of the part with this sheet's cells."""
    sheets = (_attributes(each) for each in SHEET.findall(_read(archive, "xl/workbook.xml")))
    relation = next(
        (
            value
            for each in sheets
            if each.get("name") == sheet
            for name, value in each.items()
            if name.split(":")[-1] == "id"
        ),
        None,
    )
    for each in RELATION.findall(_read(archive, "xl/_rels/workbook.xml.rels")):
        attributes = _attributes(each)
        if attributes.get("Id") == relation:
            return posixpath.normpath(posixpath.join("/xl", attributes["Target"])).lstrip("/")
    raise KeyError(sheet)


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as part:
        return part.read(MOST_PARTS)


def _attributes(tag: bytes) -> dict[str, str]:
    return {
        name.decode(): unescape((double or single).decode())
        for name, double, single in ATTRIBUTE.findall(tag)
    }
