"""Keys, tenants and login links."""

from __future__ import annotations

import pytest

from common.accounts import Accounts
from common.errors import InvalidRequest, NotFound, Unauthorized


@pytest.fixture
def accounts(mill) -> Accounts:
    return Accounts(mill.client)


def test_a_key_opens_its_tenant_and_is_stored_only_as_a_digest(accounts, mill):
    key = accounts.create_key("team-a", "laptop")
    assert accounts.tenant_of_key(key) == "team-a"
    secret = key.split("_", 2)[2].encode()
    values = b"".join(b"".join(mill.client.hgetall(name).values()) for name in mill.client.scan_iter("pm:key:*"))
    assert values and secret not in values


@pytest.mark.parametrize("key", ["", "nonsense", "pm_000000000000_" + "x" * 43, "pm_zz_y"])
def test_a_wrong_key_is_refused(accounts, key):
    with pytest.raises(Unauthorized):
        accounts.tenant_of_key(key)


def test_a_key_with_a_wrong_secret_is_refused(accounts):
    key = accounts.create_key("t")
    with pytest.raises(Unauthorized):
        accounts.tenant_of_key(key[:-1] + ("A" if key[-1] != "A" else "B"))


def test_a_revoked_key_is_refused_and_stays_listed(accounts):
    key = accounts.create_key("t", "old")
    accounts.revoke_key(key)
    with pytest.raises(Unauthorized):
        accounts.tenant_of_key(key)
    assert [(found.name, found.revoked_at is not None) for found in accounts.list_keys()] == [("old", True)]
    with pytest.raises(NotFound):
        accounts.revoke_key("nothing")


def test_a_tenants_name_cannot_break_a_redis_key(accounts):
    for name in ("a:b", "", "A b", "-x", "x" * 64):
        with pytest.raises(InvalidRequest):
            accounts.create_key(name)


def test_a_login_link_works_once(accounts, mill):
    token = accounts.create_login("t")
    assert accounts.take_login(token) == "t"
    with pytest.raises(Unauthorized):
        accounts.take_login(token)
    assert all(0 < mill.client.ttl(name) <= 600 for name in mill.client.scan_iter("pm:login:*"))


def test_secrets_are_made_once(accounts):
    assert accounts.webhook_secret("t") == accounts.webhook_secret("t")
    assert accounts.webhook_secret("t") != accounts.webhook_secret("u")
    assert accounts.session_secret() == accounts.session_secret()
