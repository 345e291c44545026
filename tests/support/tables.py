"""Tables as users' programs write them, and what readers make of them."""

from __future__ import annotations

import io
from typing import Any

import openpyxl

from common.errors import InvalidRequest
from web.intake.drafts import Draft
from web.intake.reading import Reading
from web.intake.uploads import read_upload
from web.schemas.requests import UploadOptions

TEMPLATE = {"prompt": "{{text}}"}


def drafts_of(name: str, content: bytes, **job: Any) -> list[Draft]:
    """The drafts of an upload with this part `job`."""
    reading = Reading.of(UploadOptions.model_validate(job))
    return list(read_upload(io.BytesIO(content), name, reading))


def values_of(name: str, content: bytes, **job: Any) -> list[dict[str, Any]]:
    """What is to become items; nothing is wrong with any of it."""
    drafts = drafts_of(name, content, **job)
    assert [(each.fault, each.refused) for each in drafts] == [(None, None)] * len(drafts)
    return [each.value for each in drafts]


def vars_of(name: str, content: bytes, **job: Any) -> list[dict[str, Any]]:
    return [each["vars"] for each in values_of(name, content, **{"template": TEMPLATE, **job})]


def refusal_of(name: str, content: bytes, **job: Any) -> InvalidRequest:
    """Why a file is refused as a whole."""
    try:
        drafts_of(name, content, **job)
    except InvalidRequest as error:
        return error
    raise AssertionError("the file was read")


def workbook(*rows: list[Any], sheets: tuple[str, ...] = ("Sheet1",)) -> bytes:
    """An XLSX file with the rows in the first of its sheets; text is text, formulas too."""
    book = openpyxl.Workbook()
    book.active.title = sheets[0]
    for row in rows:
        book.active.append(row)
    for row in book.active.iter_rows():
        for cell in row:
            cell.data_type = "s" if isinstance(cell.value, str) else cell.data_type
    for name in sheets[1:]:
        book.create_sheet(name).append([name])
    sink = io.BytesIO()
    book.save(sink)
    return sink.getvalue()
