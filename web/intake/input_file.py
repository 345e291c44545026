"""Reads the items of a job from a file that its tenant stored before: `input_file`."""

from __future__ import annotations

from collections.abc import Iterator

from common.errors import ErrorDict, InvalidRequest
from common.store.files import StoredFile
from web.intake.drafts import Draft
from web.intake.uploads import read_upload
from web.schemas.requests import UploadOptions
from web.services.services import Services

PURPOSE = "input"


def input_file(services: Services, tenant: str, file_id: str) -> StoredFile:
    """A file of this tenant that jobs may be made of.

    Raises:
        NotFound: there is none; another tenant's is none.
        InvalidRequest: it was stored for something else.
    """
    file = services.files.get(file_id, tenant)
    if file.purpose != PURPOSE:
        message = f"{file.id} has the purpose {file.purpose}; upload it with the purpose {PURPOSE}"
        raise InvalidRequest(message, code="invalid_value", field="input_file")
    return file


def read_input_file(
    services: Services, tenant: str, file_id: str, options: UploadOptions
) -> Iterator[Draft]:
    """The drafts of a stored file. Its name says the format, as in an upload; it is read from the
    store while they are asked for.

    Raises:
        NotFound, InvalidRequest: as `input_file` and `read_upload` do.
    """
    file = input_file(services, tenant, file_id)
    return _about_input_file(services, file, options)


def _about_input_file(
    services: Services, file: StoredFile, options: UploadOptions
) -> Iterator[Draft]:
    """Errors of the file as a whole name `input_file`, the field that it was sent as."""
    try:
        content = services.files.open(file.id)
        yield from read_upload(content, file.filename, options.prompt_column)
    except InvalidRequest as error:
        if error.field == "file":
            error.field = "input_file"
        error.errors = [_renamed(entry) for entry in error.errors]
        raise


def _renamed(entry: ErrorDict) -> ErrorDict:
    return {**entry, "field": "input_file"} if entry.get("field") == "file" else entry
