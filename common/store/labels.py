"""The names that people give to keys, invitations and links: short, and shown as they are."""

from __future__ import annotations

from common.errors import InvalidRequest
from common.printable import CONTROL

LONGEST_LABEL = 200  # characters


def check_label(name: str) -> str:
    """The name.

    Raises:
        InvalidRequest: it is too long, or has characters that a list cannot show.
    """
    if len(name) > LONGEST_LABEL:
        raise InvalidRequest(f"a name may have {LONGEST_LABEL} characters", field="name")
    if CONTROL.search(name):
        raise InvalidRequest(
            "a name may have no control characters, and none that turn the direction of writing",
            field="name",
        )
    return name
