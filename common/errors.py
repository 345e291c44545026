"""One error tree. Each error has a stable code, an HTTP status and says whether trying again can
help.

    PromptmillError ├── InvalidRequest        400/422  what the caller sent is wrong; `field` and
    `line` say where │   └── TooLarge          413      more bytes or items than the limits allow
    ├── Unauthorized          401      no key, a wrong key or a revoked one ├── NotFound
    404      no such thing, or another tenant's ├── Conflict              409      the thing is not
    in a state that allows this ├── TooMany               429      the tenant has as much waiting as
    it may; try again later │   └── StorageFull       429      it keeps as much as it may: no use to
    try again before something is deleted ├── Unavailable           503      Redis cannot be
    reached; try again ├── EngineError           500      generating one item failed; data for that
    item, never for its job └── ConfigError           -        a setting or the machine is wrong;
    the process stops and says how to fix it

A user's failure is data; a crash is any exception outside this tree.
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
    """Base of all errors that promptmill raises on purpose.

    `code` is stable and machine-readable; `message` says what, where and how to fix it; `field` is
    the path of the offending field (`items.3.params.top_p`) and `line` the line of an upload (from
    1), where they apply.
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
        """`{code, message}` plus `field` and `line` where known: one entry of an error list."""
        found = ErrorDict(code=self.code, message=self.message)
        if self.field is not None:
            found["field"] = self.field
        if self.line is not None:
            found["line"] = self.line
        return found


class InvalidRequest(PromptmillError):
    """What the caller sent cannot be accepted; nothing was enqueued. `errors` lists every problem
    found (up to 100)."""

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
    """`most` is how many bytes the tenant may keep."""
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
