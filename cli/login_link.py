"""The link that logs a browser in, and the tenant whose browser that is unless told otherwise."""

from __future__ import annotations

from common.store.sessions import Sessions

TENANT = "default"


def login_link(url: str, sessions: Sessions, tenant: str) -> str:
    """A link that logs one browser in at the web tier with this URL, once."""
    return f"{url}/login?token={sessions.create_login(tenant)}"
