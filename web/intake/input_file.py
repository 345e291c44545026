"""Stores uploaded files, and reads the items of a job from one of them: `input_file`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from common.errors import ErrorDict, InvalidRequest
from common.store.files import StoredFile
from web.intake.drafts import Draft
from web.intake.presets import resolve_preset
from web.intake.reading import Reading
from web.intake.uploads import read_items_file, refuse_unused
from web.schemas.requests import UploadOptions
from web.services.services import Services

PURPOSE = "input"
INPUT_AGE = 86_400  # seconds that such a file is kept by default
LONGEST_NAME = 255  # characters of a file's name that are kept


def keep_file(
    services: Services, tenant: str, content: IO[bytes], filename: str, *, purpose: str, ttl: int
) -> StoredFile:
    """Store an uploaded file for `ttl` seconds, within what the tenant may keep and the server
    has room for.

    Raises:
        StorageFull, Unavailable: there is no room for it.
    """
    admission, most = services.admission, services.settings.max_stored_bytes

    def admit(stored: int) -> None:
        admission.check_memory(0)
        admission.check_stored(tenant, stored, most)

    return services.files.create(
        tenant,
        content,
        filename=filename[:LONGEST_NAME],
        purpose=purpose,
        ttl=ttl,
        admit=admit,
        most=most,
    )


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
        NotFound, InvalidRequest: as `input_file` and `read_items_file` do.
    """
    file = input_file(services, tenant, file_id)
    if options.format is not None:
        refuse_unused(file.filename, options.format)
    reading = Reading.of(resolve_preset(services, tenant, options))
    return _about_input_file(services, file, reading)


def _about_input_file(services: Services, file: StoredFile, reading: Reading) -> Iterator[Draft]:
    """Errors of the file as a whole name `input_file`, the field that it was sent as."""
    try:
        content = services.files.open(file.id)
        yield from read_items_file(content, file.filename, reading)
    except InvalidRequest as error:
        if error.field == "file":
            error.field = "input_file"
        error.errors = [_renamed(entry) for entry in error.errors]
        raise


def _renamed(entry: ErrorDict) -> ErrorDict:
    return {**entry, "field": "input_file"} if entry.get("field") == "file" else entry
