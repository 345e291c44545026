"""The forms of a REDIS_URL, for redis-py and for Celery; others are refused by name."""

from __future__ import annotations

import pytest
from kombu.connection import Connection

from common.errors import ConfigError
from common.settings import Settings
from common.store.address import Address, without_secrets

SENTINELS = "redis+sentinel://user:p%40ss@s1:1,s2,[::1]:3/main/2?sentinel_password=s%26t"


def test_a_plain_url_is_read() -> None:
    assert Address.parse("redis://queue") == Address("redis", (("queue", 6379),))
    assert Address.parse("redis://:p%2Fw@[::1]:1/3") == Address(
        "redis", (("::1", 1),), db=3, password="p/w"
    )


def test_a_socket_is_read() -> None:
    address = Address.parse("unix://user:pw@/run/my%20redis.sock?db=4")
    assert address == Address(
        "unix", path="/run/my redis.sock", db=4, username="user", password="pw"
    )


def test_sentinels_are_read() -> None:
    address = Address.parse(SENTINELS)
    assert (address.hosts, address.service, address.db) == (
        (("s1", 1), ("s2", 26379), ("::1", 3)),
        "main",
        2,
    )
    assert address.login == {"username": "user", "password": "p@ss"}
    assert address.sentinel_login == {"password": "s&t"}


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("redis:///0", "names no host"),
        ("redis://", "names no host"),
        ("redis://queue:six/0", "no good host and port: 'queue:six'"),
        ("redis://queue:99999/0", "the port 99999"),
        ("redis://a b/0", "no good host and port: 'a b'"),
        ("redis://queue/zero", "the database 'zero', which is no number"),
        ("redis://queue/-1", "the database '-1', which is no number"),
        ("redis://a:1,b:2/0", "several hosts"),
        ("redis://queue/0?timeout=3", "unknown option timeout; a redis:// URL may have none"),
        (
            "rediss://queue/0?ssl_ca_cert=x",
            "unknown option ssl_ca_cert; a rediss:// URL may have ssl_cert_reqs",
        ),
        ("unix://run/redis.sock", "names no socket"),
        ("unix:///run/redis.sock?db=x", "the database 'x', which is no number"),
        ("redis+sentinel://s1:1,s2:2", "names no service"),
        ("redis+sentinel://s1:1,,s2:2/main", "names no host"),
        ("sentinel://s1:1/main", "must begin with"),
        ("redis-cluster://a:1", "must begin with"),
        ("", "must begin with"),
    ],
)
def test_nonsense_is_refused_by_name_and_without_its_password(
    monkeypatch: pytest.MonkeyPatch, url: str, what: str
) -> None:
    secret = url.replace("://", "://:hidden@", 1)
    for each in (url, secret):
        monkeypatch.setenv("REDIS_URL", each)
        with pytest.raises(ConfigError, match=r"^REDIS_URL=") as refused:
            Settings.load()
        assert what in str(refused.value)
        assert "hidden" not in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("url", ["redis://u:p%40w@h:1/2", "unix://u:p%40w@/run/x.sock?db=2"])
def test_celery_gets_the_same_address(url: str) -> None:
    connection = Connection(Address.parse(url).broker()["broker_url"])
    channel = connection.transport.Channel.__new__(connection.transport.Channel)
    channel.connection = connection.transport
    params = channel._connparams()
    found = (
        params["username"],
        params["password"],
        params["db"],
        params.get("path") or (params["host"], params["port"]),
    )
    assert found == ("u", "p@w", 2, "/run/x.sock" if url.startswith("unix") else ("h", 1))


def test_celery_gets_every_sentinel() -> None:
    broker = Address.parse(SENTINELS).broker()["broker_url"]
    login = "sentinel://user:p%40ss@"
    assert broker == f"{login}s1:1/2;{login}s2:26379/2;{login}[::1]:3/2"


def test_tls_is_checked_unless_the_url_says_otherwise() -> None:
    assert Address.parse("rediss://h").broker()["broker_use_ssl"] == {"ssl_cert_reqs": "required"}
    loose = Address.parse("rediss://h?ssl_cert_reqs=none&ssl_check_hostname=false")
    assert loose.broker()["broker_use_ssl"] == {
        "ssl_cert_reqs": "none",
        "ssl_check_hostname": False,
    }


def test_a_url_is_shown_without_its_secrets() -> None:
    assert without_secrets("redis://:a/b@c@h:1/0") == "redis://h:1/0"
    assert (
        without_secrets(SENTINELS) == "redis+sentinel://s1:1,s2,[::1]:3/main/2?sentinel_password=**"
    )
