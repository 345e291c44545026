"""The token of a form: an idempotency key, so that two presses of its button make one thing."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import TypeVar

from common.errors import Conflict

T = TypeVar("T")
KEY = "Idempotency-Key"  # the field of conflicts that are about the key
LONGEST = 64  # characters of a token


def new_token() -> str:
    return secrets.token_hex(16)


def key_of(form: Mapping[str, str]) -> str | None:
    """The key of a form that was sent; None for one without a token."""
    token = form.get("token", "")[:LONGEST]
    return f"form:{token}" if token else None


def once(key: str | None, make: Callable[[str | None], T]) -> T:
    """What `make` makes with the key. The same token with other content comes from somebody who
    went back and changed the form: that makes another."""
    try:
        return make(key)
    except Conflict as error:
        if error.field != KEY:
            raise
        return make(None)
