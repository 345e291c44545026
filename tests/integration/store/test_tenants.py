"""Keys, tenants, login links and sessions."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest

from common.errors import InvalidRequest, NotFound, Unauthorized
from common.store import keys
from common.store.api_keys import ApiKeys
from common.store.grants import Grant, still_valid
from common.store.sessions import MOST_SESSIONS, Sessions
from common.store.tenants import Tenants
from tests.support.store import Mill


@dataclass(frozen=True)
class Accounts:
    """What there is of tenants."""

    api_keys: ApiKeys
    sessions: Sessions
    tenants: Tenants


@pytest.fixture
def accounts(mill: Mill) -> Accounts:
    return Accounts(ApiKeys(mill.client), Sessions(mill.client), Tenants(mill.client))


def log_in(accounts: Accounts, tenant: str) -> str:
    """The cookie of a new session."""
    return accounts.sessions.begin_session(accounts.sessions.create_login(tenant))


def granted(accounts: Accounts, cookie: str) -> Grant:
    found = accounts.sessions.grant_of_cookie(cookie)
    assert found
    return found


def test_a_key_opens_its_tenant_and_is_stored_only_as_a_digest(
    accounts: Accounts, mill: Mill
) -> None:
    key = accounts.api_keys.create_key("team-a", "laptop")
    assert accounts.api_keys.tenant_of_key(key) == "team-a"
    secret = key.split("_", 2)[2].encode()
    values = b"".join(
        b"".join(mill.client.hgetall(name).values()) for name in mill.client.scan_iter("pm:key:*")
    )
    assert values and secret not in values


@pytest.mark.parametrize("key", ["", "nonsense", "pm_000000000000_" + "x" * 43, "pm_zz_y"])
def test_a_wrong_key_is_refused(accounts: Accounts, key: str) -> None:
    with pytest.raises(Unauthorized):
        accounts.api_keys.tenant_of_key(key)


def test_a_key_with_a_wrong_secret_is_refused(accounts: Accounts) -> None:
    key = accounts.api_keys.create_key("t")
    with pytest.raises(Unauthorized):
        accounts.api_keys.tenant_of_key(key[:-1] + ("A" if key[-1] != "A" else "B"))


def test_a_revoked_key_is_refused_and_stays_listed(accounts: Accounts) -> None:
    key = accounts.api_keys.create_key("t", "old")
    accounts.api_keys.revoke_key(key)
    with pytest.raises(Unauthorized):
        accounts.api_keys.tenant_of_key(key)
    assert [
        (found.name, found.revoked_at is not None) for found in accounts.api_keys.list_keys()
    ] == [("old", True)]
    with pytest.raises(NotFound):
        accounts.api_keys.revoke_key("nothing")


def test_a_tenants_name_cannot_break_a_redis_key(accounts: Accounts) -> None:
    for name in ("a:b", "", "A b", "-x", "x" * 64):
        with pytest.raises(InvalidRequest):
            accounts.api_keys.create_key(name)


def test_a_login_link_works_once(accounts: Accounts, mill: Mill) -> None:
    token = accounts.sessions.create_login("t")
    assert all(0 < mill.client.ttl(name) <= 600 for name in mill.client.scan_iter("pm:login:*"))
    assert granted(accounts, accounts.sessions.begin_session(token)).tenant == "t"
    with pytest.raises(Unauthorized):
        accounts.sessions.begin_session(token)


def test_a_login_that_is_sent_again_begins_the_same_session(accounts: Accounts, mill: Mill) -> None:
    accounts.sessions.create_login("t")
    (link,) = mill.client.zrange("pm:tenant:t:links", 0, -1)
    known = {"link": link, "life": 60_000, "most": 10}
    told = [accounts.sessions._scripts.begin_session(session="session", **known) for _ in range(2)]
    assert told == [b"t", b"t"]
    assert mill.client.zcard(keys.sessions("t")) == 1
    assert accounts.sessions._scripts.begin_session(session="other", **known) is None


def test_a_session_ends_alone_and_its_cookie_is_dead(accounts: Accounts) -> None:
    first, second = log_in(accounts, "t"), log_in(accounts, "t")
    accounts.sessions.end_session(granted(accounts, first))
    assert accounts.sessions.grant_of_cookie(first) is None
    assert granted(accounts, second).tenant == "t"


def test_all_sessions_and_unused_links_of_a_tenant_end_together(accounts: Accounts) -> None:
    cookies, link, other = (
        [log_in(accounts, "t") for _ in range(3)],
        accounts.sessions.create_login("t"),
        log_in(accounts, "u"),
    )
    accounts.sessions.end_sessions("t")
    assert [accounts.sessions.grant_of_cookie(cookie) for cookie in cookies] == [None] * 3
    with pytest.raises(Unauthorized):
        accounts.sessions.begin_session(link)
    assert granted(accounts, other).tenant == "u"


def test_a_tenant_that_is_none_is_not_said_to_be_logged_out(accounts: Accounts) -> None:
    with pytest.raises(NotFound, match="no tenant tt"):
        accounts.sessions.end_sessions("tt")
    log_in(accounts, "without-a-key")
    accounts.sessions.end_sessions("without-a-key")
    accounts.api_keys.create_key("t")
    accounts.sessions.end_sessions("t")  # nobody is logged in: as was asked


def test_sessions_end_with_the_last_key_of_their_tenant(accounts: Accounts) -> None:
    one, two, _ = (
        accounts.api_keys.create_key("t"),
        accounts.api_keys.create_key("t"),
        accounts.api_keys.create_key("u"),
    )
    cookie, link = log_in(accounts, "t"), accounts.sessions.create_login("t")
    accounts.api_keys.revoke_key(one)
    assert granted(accounts, cookie)
    accounts.api_keys.revoke_key(two)
    assert accounts.sessions.grant_of_cookie(cookie) is None
    with pytest.raises(Unauthorized):
        accounts.sessions.begin_session(link)


def test_a_tenant_has_a_bounded_number_of_sessions_and_the_oldest_end(
    accounts: Accounts, mill: Mill
) -> None:
    first = log_in(accounts, "t")
    # Sessions that begin in the same millisecond end in no particular order.
    time.sleep(0.002)
    rest = [log_in(accounts, "t") for _ in range(MOST_SESSIONS)]
    assert mill.client.zcard(keys.sessions("t")) == MOST_SESSIONS
    assert accounts.sessions.grant_of_cookie(first) is None
    assert granted(accounts, rest[-1])


def test_a_session_whose_time_is_over_is_none(accounts: Accounts, mill: Mill) -> None:
    cookie = log_in(accounts, "t")
    mill.client.zadd(keys.sessions("t"), {granted(accounts, cookie).session: 1})
    assert accounts.sessions.grant_of_cookie(cookie) is None


@pytest.mark.parametrize(
    "cookie",
    ["", "t", "t.", ".x", "t.short", "T." + "x" * 43, "t." + "x" * 43, "u:jobs." + "x" * 43],
)
def test_a_made_up_cookie_is_nobodys(accounts: Accounts, cookie: str) -> None:
    log_in(accounts, "t")
    assert accounts.sessions.grant_of_cookie(cookie) is None


def test_what_is_still_valid_is_told_in_one_round_trip(
    accounts: Accounts, mill: Mill, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, gone = (
        accounts.api_keys.grant_of_key(accounts.api_keys.create_key("t")) for _ in range(2)
    )
    session, over = (granted(accounts, log_in(accounts, "t")) for _ in range(2))
    accounts.api_keys.revoke_key(gone.key_id)
    accounts.sessions.end_session(over)
    made_up = Grant("u", key_id=kept.key_id)
    sent = mill.client.info("stats")["total_reads_processed"]
    assert still_valid(mill.client, [kept, gone, session, over, made_up]) == {kept, session}
    # The question, and this one.
    assert mill.client.info("stats")["total_reads_processed"] - sent <= 2
    assert still_valid(mill.client, []) == set()


def test_a_full_server_still_takes_who_may_come_in_no_more(accounts: Accounts, mill: Mill) -> None:
    key, cookie = accounts.api_keys.create_key("t"), log_in(accounts, "t")
    mill.client.config_set("maxmemory", 1)
    try:
        accounts.api_keys.revoke_key(key)
        accounts.sessions.end_sessions("t")
    finally:
        mill.client.config_set("maxmemory", 0)
    with pytest.raises(Unauthorized):
        accounts.api_keys.tenant_of_key(key)
    assert accounts.sessions.grant_of_cookie(cookie) is None


def test_secrets_are_made_once(accounts: Accounts) -> None:
    assert accounts.tenants.webhook_secret("t") == accounts.tenants.webhook_secret("t")
    assert accounts.tenants.webhook_secret("t") != accounts.tenants.webhook_secret("u")
