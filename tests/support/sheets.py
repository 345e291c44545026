"""XLSX files whose parts are not what a spreadsheet program would write."""

from __future__ import annotations

import io
import zipfile

from tests.support.tables import workbook


def repacked(content: bytes, change: dict[str, bytes]) -> bytes:
    """The file with other contents of some of its parts."""
    sink = io.BytesIO()
    source = zipfile.ZipFile(io.BytesIO(content))
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as target:
        for name in {*source.namelist(), *change}:
            target.writestr(name, change.get(name) or source.read(name))
    return sink.getvalue()


SHEET = "xl/worksheets/sheet1.xml"
NAMESPACE = b'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'


def sheet(cells: bytes) -> bytes:
    xml = b"<worksheet " + NAMESPACE + b"><sheetData>" + cells + b"</sheetData></worksheet>"
    return repacked(workbook(["text"], ["a"]), {SHEET: xml})


def claiming(content: bytes, size: int) -> bytes:
    """The file, whose sheet is said to have so many bytes unpacked."""
    part = zipfile.ZipFile(io.BytesIO(content)).getinfo(SHEET)
    return content.replace(part.file_size.to_bytes(4, "little"), size.to_bytes(4, "little"))


def good() -> bytes:
    return workbook(["text"], ["a"])


def long_cell() -> bytes:
    """A cell of 128 MiB, in some KB."""
    cell = b"<row r='1'><c r='A1' t='inlineStr'><is><t>%b</t></is></c></row>"
    return sheet(cell % (b"x" * 2**27))
