"""Finds the formulas of a sheet whose values were not stored: libraries that write XLSX files
compute nothing, and a reader that evaluates no formulas would take such cells for empty.

Runs in the process of `xlsx_reader.py`, and imports nothing of this project.
"""

from __future__ import annotations

import posixpath
import re
import zipfile
from collections.abc import Iterator
from contextlib import suppress
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
PLACE = re.compile(r"[A-Z]{1,3}(\d{1,7})")


def formulas_without_values(file: IO[bytes], sheet: str) -> dict[int, str]:
    """The lines of a sheet that have one, each with the place of its first (`C3`). What cannot be
    read has none: whoever decodes the sheet says so."""
    found: dict[int, str] = {}
    with suppress(zipfile.BadZipFile, OSError, EOFError, ValueError, KeyError):
        archive = zipfile.ZipFile(file)
        with archive.open(_part_of(archive, sheet)) as part:
            for cell in _formulas(part):
                attributes = _attributes(cell)
                place = PLACE.fullmatch(attributes.get("r", ""))
                if place and attributes.get("t") != "str":
                    found.setdefault(int(place[1]), place[0])
    return found


def _formulas(part: IO[bytes]) -> Iterator[bytes]:
    """The attributes of the cells that have a formula and no value."""
    rest = b""
    while block := part.read(BLOCK):
        text = rest + block
        at = 0
        # Most sheets have no formulas: a search for two bytes is much faster than the pattern.
        for cell in FORMULA.finditer(text) if b"<f" in text or b":f" in text else ():
            yield cell[1]
            at = cell.end()
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
