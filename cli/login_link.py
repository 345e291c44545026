"""The link that logs a browser in, and the tenant whose browser that is unless told otherwise."""

from __future__ import annotations

from common.store.accounts import Accounts

TENANT = "default"


def login_link(url: str, accounts: Accounts, tenant: str) -> str:
    """A link that logs one browser in at the web tier with this URL, once."""
    return f"{url}/login?token={accounts.create_login(tenant)}"
