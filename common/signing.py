"""Signs and verifies webhooks by the Standard Webhooks scheme. Knows nothing of Redis or HTTP.

A secret is `whsec_` and the base64 of the HMAC-SHA256 key. The signed text is `id.timestamp.body`,
with the body byte for byte as it is posted.
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
    """The secret itself, if every Standard Webhooks library reads the same key from it.

    Libraries differ in how they treat characters outside base64, so such secrets are refused before
    they are stored.

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
    """The three headers of a delivery of `body`; `timestamp` is the time of this try, in unix
    seconds.

    Raises:
        InvalidRequest: the secret has another form.
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
    """The event in `body`, if its signature is right and at most five minutes old.

    Raises:
        Unauthorized: it is not.
    """
    try:
        event: dict[str, Any] = Webhook(secret).verify(body, dict(headers))
    except (WebhookVerificationError, ValueError) as error:
        # ValueError: the header is no base64.
        raise Unauthorized(
            f"the webhook is not signed with this secret: {error}", code="invalid_signature"
        ) from error
    return event
