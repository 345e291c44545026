"""Who sent a request: what proxies say is believed of those that are trusted, and of nobody
else."""

from __future__ import annotations

import pytest
from flask import request

from common.errors import ConfigError
from common.networks import parse_networks
from common.settings import Settings
from web.app import create_app
from web.wire.proxies import Seen, see

TRUSTED = parse_networks("127.0.0.1, 10.0.0.0/8, fd00::/8")
PLAIN = Seen("127.0.0.1", "http", "box:8000")


def seen(peer: str = "127.0.0.1", **said: str) -> Seen:
    headers = {f"HTTP_X_FORWARDED_{name.upper()}": value for name, value in said.items()}
    environ = {"REMOTE_ADDR": peer, "wsgi.url_scheme": "http", "HTTP_HOST": "box:8000", **headers}
    return see(environ, TRUSTED)


def test_without_a_proxy_the_connection_tells_all() -> None:
    assert seen() == PLAIN
    assert seen(peer="::ffff:127.0.0.1") == PLAIN


def test_a_trusted_proxy_is_believed() -> None:
    said = seen(**{"for": "192.0.2.7", "proto": "https", "host": "queue.example:8443"})
    assert said == Seen("192.0.2.7", "https", "queue.example:8443")


@pytest.mark.parametrize("peer", ["192.0.2.1", "2001:db8::1"])
def test_nobody_else_is_believed(peer: str) -> None:
    said = seen(peer=peer, **{"for": "127.0.0.1", "proto": "https", "host": "queue.example"})
    assert said == Seen(peer, "http", "box:8000")


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("1.2.3.4, 192.0.2.7", "192.0.2.7"),  # the client wrote the first itself
        ("192.0.2.7, 10.1.1.1", "192.0.2.7"),  # two proxies of ours
        ("10.2.2.2, 10.1.1.1", "10.2.2.2"),
        ("192.0.2.7:4711", "192.0.2.7"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("2001:db8::7", "2001:db8::7"),
        ("192.0.2.7, nonsense", "127.0.0.1"),
        ("unknown, 10.1.1.1", "10.1.1.1"),
        ("", "127.0.0.1"),
    ],
)
def test_the_client_is_the_last_that_is_no_proxy_of_ours(forwarded: str, client: str) -> None:
    assert seen(**{"for": forwarded}).address == client


@pytest.mark.parametrize(
    "said", [{"proto": "ftp"}, {"proto": ""}, {"host": "a b"}, {"host": "x/../y"}, {"host": ""}]
)
def test_what_makes_no_sense_is_not_believed(said: dict[str, str]) -> None:
    assert seen(**said) == PLAIN


def test_of_several_the_nearest_proxys_word_counts() -> None:
    assert seen(proto="https, http", host="a.example, b.example") == Seen(
        "127.0.0.1", "http", "b.example"
    )


def test_the_app_sees_a_request_as_its_client_sent_it() -> None:
    app = create_app(Settings.load(trusted_proxies="127.0.0.0/8"))
    app.add_url_rule(
        "/seen", view_func=lambda: [request.remote_addr, request.is_secure, request.host_url]
    )
    said = {
        "X-Forwarded-For": "192.0.2.7",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "queue.example",
    }
    answer = app.test_client().get("/seen", headers=said)
    assert answer.json == ["192.0.2.7", True, "https://queue.example/"]
    other = app.test_client().get("/seen", headers=said, environ_base={"REMOTE_ADDR": "192.0.2.1"})
    assert other.json == ["192.0.2.1", False, "http://localhost/"]


@pytest.mark.parametrize(
    "wrong", ["proxy.example", "10.0.0.1/8", "127.0.0.1;::1", "10.0.0.0/33", "[::1]"]
)
def test_a_proxy_that_is_no_address_is_refused_at_start_by_name(
    monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    monkeypatch.setenv("PROMPTMILL_TRUSTED_PROXIES", f"127.0.0.1,{wrong}")
    with pytest.raises(
        ConfigError, match=r"PROMPTMILL_TRUSTED_PROXIES=.*is no address and no network"
    ):
        Settings.load()
