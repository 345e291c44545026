"""Idempotency keys: the same key sent again with the same content makes nothing twice, and with
other content is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from common.errors import Conflict, InvalidRequest
from web.schemas.headers import IDEMPOTENCY_KEY


class KeyReused(Conflict):
    """An idempotency key came again with other content."""

    status = 422
    code = "idempotency_key_reused"


def check_key(key: str | None) -> None:
    if key is not None and not IDEMPOTENCY_KEY.fullmatch(key):
        raise InvalidRequest(
            "Idempotency-Key must be 1 to 255 visible ASCII characters", field="Idempotency-Key"
        )


class Idempotency:
    """A key and the digest of all that was sent with it, part by part. Without a key nothing is
    digested.

    Raises:
        InvalidRequest: the key cannot be one.
    """

    def __init__(self, key: str | None):
        check_key(key)
        self._key = key
        self._digest = hashlib.sha256()

    def add(self, part: BaseModel | Mapping[str, Any]) -> None:
        if self._key:
            value = part.model_dump(mode="json") if isinstance(part, BaseModel) else part
            self._digest.update(json.dumps(value, sort_keys=True).encode())

    def pair(self) -> tuple[str, str]:
        """Key and digest as the store takes them."""
        return (self._key, self._digest.hexdigest()) if self._key else ("", "")
