"""The error of an output format that cannot be honoured, and arithmetic on how long a text of it is
at least.

Errors name the field, and inside it the place.
"""

from __future__ import annotations

from common.errors import InvalidRequest

FOREVER = 10**18  # characters of a text that never ends


def unusable(message: str, field: str) -> InvalidRequest:
    """The error of what cannot be honoured, in this field."""
    return InvalidRequest(f"{field} {message}", code="invalid_grammar", field=field)


def shown(text: object) -> str:
    """A piece of a format in a message."""
    return repr(str(text)[:64])
