"""All errors as one tree. Each has a stable code, an HTTP status, and says whether to try again.

    PromptmillError
    ├── InvalidRequest    400/422  the request is wrong; `field` and `line` say where
    │   └── TooLarge          413  more bytes or items than the limits allow
    ├── Unauthorized          401  the key is missing, wrong or revoked
    ├── NotFound              404  no such thing, or another tenant's
    ├── Conflict              409  the thing's state does not allow this
    ├── TooMany               429  the tenant's queue is full; try again later
    │   └── StorageFull       429  the tenant's storage is full; delete something first
    ├── Unavailable           503  Redis cannot be reached; try again
    ├── EngineError           500  an item's generation failed; a result of the item, not of its job
    └── ConfigError             -  a setting or the machine is wrong; the process ends with a hint

Faults of users are data in this tree. Any other exception is a bug.
"""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict


class ErrorDict(TypedDict):
    """One thing that is wrong, as it is stored and answered; `field` and `line` as in
    `PromptmillError`."""

    code: str
    message: str
    field: NotRequired[str]
    line: NotRequired[int]


class PromptmillError(Exception):
    """The base of all errors that promptmill raises on purpose.

    `code` is stable, for programs; `message` says what is wrong, where, and how to fix it; `field`
    is the path of the field (`items.3.params.top_p`) and `line` the line of an upload (from 1), if
    there is one.
    """

    status = 500
    code = "internal_error"
    retry = False

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        field: str | None = None,
        line: int | None = None,
    ):
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.field = field
        self.line = line

    def as_dict(self) -> ErrorDict:
        """An entry of an error list: `code`, `message`, and `field` and `line` if known."""
        found = ErrorDict(code=self.code, message=self.message)
        if self.field is not None:
            found["field"] = self.field
        if self.line is not None:
            found["line"] = self.line
        return found


class InvalidRequest(PromptmillError):
    """The request is wrong, and nothing was enqueued. `errors` has all faults that were found, up
    to 100."""

    status = 422
    code = "invalid_request"

    def __init__(
        self,
        message: str,
        *,
        errors: list[ErrorDict] | None = None,
        status: int = 422,
        **where: Any,
    ):
        super().__init__(message, **where)
        self.status = status
        self.errors = errors if errors is not None else [self.as_dict()]


class TooLarge(InvalidRequest):
    code = "too_large"

    def __init__(self, message: str, **where: Any) -> None:
        super().__init__(message, status=413, **where)


class Unauthorized(PromptmillError):
    status = 401
    code = "unauthorized"


class NotFound(PromptmillError):
    status = 404
    code = "not_found"


class Conflict(PromptmillError):
    status = 409
    code = "conflict"


class TooMany(PromptmillError):
    status = 429
    code = "too_many_queued"
    retry = True


class StorageFull(TooMany):
    code = "storage_full"
    retry = False


def storage_full(most: int) -> StorageFull:
    """The error of a tenant that may store `most` bytes."""
    return StorageFull(
        f"with this you would keep more than {most / 2**20:,.1f} MiB of jobs, results and files; "
        "delete some, or wait until they expire"
    )


class Unavailable(PromptmillError):
    status = 503
    code = "unavailable"
    retry = True


class EngineError(PromptmillError):
    code = "engine_error"


class ConfigError(PromptmillError):
    code = "config_error"
