"""API keys of one tenant, invitations, and links to one job."""

from __future__ import annotations

import time

import pytest

from common.errors import Conflict, InvalidRequest, NotFound, Unauthorized
from common.store import api_keys, keys
from common.store.api_keys import MOST_KEYS, ApiKeys
from common.store.sessions import INVITE_AGE, MOST_INVITES, Sessions
from common.store.shares import MOST_SHARES, Shares
from tests.support.store import Mill


def test_a_tenant_lists_its_own_keys_and_no_others(mill: Mill) -> None:
    accounts = ApiKeys(mill.client)
    first, second = accounts.create_key("t", "one"), accounts.create_key("t", "two")
    accounts.create_key("u", "theirs")
    accounts.revoke_key(second)
    assert [(key.name, bool(key.revoked_at)) for key in accounts.keys_of("t")] == [
        ("one", False),
        ("two", True),
    ]
    assert accounts.tenant_of_key(first) == "t"


def test_keys_of_an_earlier_version_are_listed_counted_and_end_sessions(mill: Mill) -> None:
    """They are in no tenant's list."""
    accounts, sessions = ApiKeys(mill.client), Sessions(mill.client)
    old = accounts.create_key("t", "old")
    mill.client.delete(keys.tenant_keys("t"))
    cookie = sessions.begin_session(sessions.create_login("t"))
    assert [key.name for key in accounts.keys_of("t")] == ["old"]
    mill.client.delete(keys.tenant_keys("t"))
    accounts.revoke_key(old)
    assert sessions.grant_of_cookie(cookie) is None


def test_a_tenant_revokes_no_key_of_another(mill: Mill) -> None:
    accounts = ApiKeys(mill.client)
    theirs = accounts.create_key("u")
    with pytest.raises(NotFound):
        accounts.revoke_key(theirs, "t")
    assert accounts.tenant_of_key(theirs) == "u"


def test_a_tenant_has_a_bounded_number_of_keys(mill: Mill, monkeypatch: pytest.MonkeyPatch) -> None:
    accounts = ApiKeys(mill.client)
    made = [accounts.create_key("t") for _ in range(MOST_KEYS)]
    with pytest.raises(Conflict) as refused:
        accounts.create_key("t")
    assert refused.value.code == "too_many_keys"
    accounts.create_key("u")
    accounts.revoke_key(made[0])
    accounts.create_key("t")
    # Of the revoked ones the last are kept.
    monkeypatch.setattr(api_keys, "REVOKED_KEPT", 1)
    time.sleep(0.005)  # the times of revocations have milliseconds
    accounts.revoke_key(made[1])
    accounts.create_key("t")
    revoked = [key.id for key in accounts.keys_of("t") if key.revoked_at]
    assert revoked == [made[1].split("_")[1]]


def test_an_invitation_logs_in_one_browser_and_is_listed_until_then(mill: Mill) -> None:
    sessions = Sessions(mill.client)
    token = sessions.invite("t", "Ada")
    (open_one,) = sessions.invites("t")
    assert (open_one.name, round(open_one.ends_at - mill.store.now() / 1000)) == ("Ada", INVITE_AGE)
    assert sessions.begin_session(token).startswith("t.")
    assert (sessions.invites("t"), sessions.browsers("t")) == ([], 1)
    with pytest.raises(Unauthorized):
        sessions.begin_session(token)


def test_a_login_link_made_later_does_not_shorten_an_invitation(mill: Mill) -> None:
    sessions = Sessions(mill.client)
    sessions.invite("t", "Ada")
    sessions.create_login("t")
    for name in (keys.links("t"), keys.invites("t")):
        assert mill.client.ttl(name) > INVITE_AGE - 60


def test_an_invitation_that_was_taken_back_lets_nobody_in(mill: Mill) -> None:
    sessions = Sessions(mill.client)
    token = sessions.invite("t", "Ada")
    (made,) = sessions.invites("t")
    sessions.take_back("u", made.id)
    assert len(sessions.invites("t")) == 1
    sessions.take_back("t", made.id)
    assert sessions.invites("t") == []
    with pytest.raises(Unauthorized):
        sessions.begin_session(token)


def test_invitations_end_with_the_sessions(mill: Mill) -> None:
    sessions = Sessions(mill.client)
    token = sessions.invite("t", "Ada")
    sessions.end_sessions("t")
    assert sessions.invites("t") == []
    with pytest.raises(Unauthorized):
        sessions.begin_session(token)


def test_a_bounded_number_of_invitations_is_open(mill: Mill) -> None:
    sessions = Sessions(mill.client)
    for index in range(MOST_INVITES):
        sessions.invite("t", f"person {index}")
    with pytest.raises(Conflict) as refused:
        sessions.invite("t", "one more")
    assert refused.value.code == "too_many_invites"
    sessions.create_login("t")  # logging in oneself is still possible


@pytest.mark.parametrize("name", ["", "x" * 201, "a\0b", "a\u202eb"])
def test_an_invitation_says_for_whom_it_is(mill: Mill, name: str) -> None:
    with pytest.raises(InvalidRequest):
        Sessions(mill.client).invite("t", name)


def test_a_link_opens_its_job_until_it_is_revoked(mill: Mill) -> None:
    ApiKeys(mill.client).create_key("t")
    job_id, other, shares = mill.submit(2), mill.submit(2), Shares(mill.client)
    secret = shares.create(job_id, "t", "reviewers")
    assert secret.encode() not in b"".join(mill.client.hgetall(keys.job(job_id, "shares")))
    found = shares.grant_of_share(job_id, secret)
    assert found and (found.tenant, found.job_id) == ("t", job_id)
    assert shares.grant_of_share(other, secret) is None
    assert shares.grant_of_share(job_id, "made up") is None
    (made,) = shares.of(job_id)
    shares.revoke(job_id, made.id)
    assert shares.grant_of_share(job_id, secret) is None


def test_nobody_shares_another_tenants_job(mill: Mill) -> None:
    job_id, shares = mill.submit(2), Shares(mill.client)
    with pytest.raises(NotFound):
        shares.create(job_id, "u", "")
    assert shares.of(job_id) == []


def test_links_go_with_their_job_and_stop_with_the_tenants_last_key(mill: Mill) -> None:
    accounts, shares = ApiKeys(mill.client), Shares(mill.client)
    key, job_id = accounts.create_key("t"), mill.submit(2)
    secret = shares.create(job_id, "t", "")
    accounts.revoke_key(key)
    assert shares.grant_of_share(job_id, secret) is None
    accounts.create_key("t")
    assert shares.grant_of_share(job_id, secret)
    mill.store.delete(job_id)
    assert shares.grant_of_share(job_id, secret) is None
    assert not mill.client.exists(keys.job(job_id, "shares"))


def test_a_job_has_a_bounded_number_of_links(mill: Mill) -> None:
    job_id, shares = mill.submit(1), Shares(mill.client)
    for _ in range(MOST_SHARES):
        shares.create(job_id, "t", "")
    with pytest.raises(Conflict) as refused:
        shares.create(job_id, "t", "")
    assert refused.value.code == "too_many_shares"


@pytest.mark.parametrize("name", ["x" * 201, "a\0b", "a\u202eb", "\ud800"])
def test_keys_and_links_have_names_that_a_list_can_show(mill: Mill, name: str) -> None:
    with pytest.raises(InvalidRequest):
        ApiKeys(mill.client).create_key("t", name)
    with pytest.raises(InvalidRequest):
        Shares(mill.client).create(mill.submit(1), "t", name)
