"""Webhook signatures after the Standard Webhooks scheme: what the webhook worker sends and any
receiver can check.

A secret is `whsec_` and the base64 of the HMAC-SHA256 key; what is signed is `id.timestamp.body`,
the body byte for byte as it is posted. Knows nothing of Redis or HTTP.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

from common.errors import InvalidRequest, Unauthorized

PREFIX = "whsec_"
KEY_BYTES = range(24, 65)  # the sizes the scheme allows


def check_secret(secret: str) -> str:
    """The secret itself, if every Standard Webhooks library reads the same key out of it.

    Libraries differ in what they do with characters outside base64, so anything odd is refused
    before it is stored.

    Raises:
        InvalidRequest: it is not `whsec_` and the base64 of 24 to 64 bytes.
    """
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(PREFIX) or len(key) not in KEY_BYTES:
        message = "must be `whsec_` followed by the base64 of 24 to 64 random bytes"
        raise InvalidRequest(message, field="webhook.secret")
    return secret


def sign(secret: str, event_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers that go with `body`; `timestamp` is in unix seconds and is the attempt's,
    not the event's.

    Raises:
        InvalidRequest: the secret is none.
    """
    signature = Webhook(check_secret(secret)).sign(
        event_id, datetime.fromtimestamp(timestamp, UTC), body.decode()
    )
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature,
    }


def verify(secret: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """The event in `body`, if the headers sign it and are at most five minutes old.

    Raises:
        Unauthorized: they do not.
    """
    try:
        event: dict[str, Any] = Webhook(secret).verify(body, dict(headers))
    except (WebhookVerificationError, ValueError) as error:
        # ValueError: headers that are not even base64.
        raise Unauthorized(
            f"the webhook is not signed with this secret: {error}", code="invalid_signature"
        ) from error
    return event
