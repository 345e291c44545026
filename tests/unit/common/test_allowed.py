"""The forms of PROMPTMILL_WEBHOOK_ALLOW."""

from __future__ import annotations

import pytest

from common.allowed import Allowed
from common.errors import ConfigError
from common.settings import Settings


@pytest.mark.parametrize(
    ("text", "host", "port", "may"),
    [
        ("hooks.internal", "Hooks.Internal", 80, True),
        ("Hooks.Internal:8080", "hooks.internal", 8080, True),
        ("hooks.internal:8080", "hooks.internal", 80, False),
        ("a, b:1 ,,c", "c", 5, True),
        ("my_service", "my_service", 80, True),
        ("fd00::1", "fd00:0::1", 443, True),
        ("[FD00::1]", "fd00::1", 443, True),
        ("[fd00::1]:443", "fd00::1", 443, True),
        ("[fd00::1]:443", "fd00::1", 80, False),
        ("fd00::1:443", "fd00::1", 443, False),  # an address of its own
        ("10.0.0.0/8", "10.0.0.1", 80, False),  # a network allows addresses, not spellings
        ("", "a", 80, False),
    ],
)
def test_a_host_is_allowed_as_it_is_written(text: str, host: str, port: int, may: bool) -> None:
    assert Allowed.parse(text).host(host, port) is may


@pytest.mark.parametrize(
    ("text", "address", "may"),
    [
        ("10.0.0.0/8", "10.255.0.1", True),
        ("10.0.0.0/8", "::ffff:10.255.0.1", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("fd00::/8", "fd12::1", True),
        ("fd00::/8", "10.0.0.1", False),
        ("10.0.0.1", "10.0.0.1", False),
    ],
)
def test_a_network_allows_the_addresses_in_it(text: str, address: str, may: bool) -> None:
    assert Allowed.parse(text).address(address) is may


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("http://hooks.internal", "has a scheme"),
        ("hooks.internal,https://b:1", "https://b:1"),
        ("hooks.internal:99999", "99999"),
        ("hooks.internal:0", "a port is a number"),
        ("hooks.internal:x", "a port is a number"),
        ("hooks.internal:", "a port is a number"),
        ("[::1]:x", "a port is a number"),
        ("[::1", "names no host"),
        ("[nonsense]:80", "names no host"),
        ("::1::2", "names no host"),
        ("*.internal", "names no host"),
        ("a b", "names no host"),
        ("user@host", "names no host"),
        ("10.0.0.1/8", "no network such as"),
        ("10.0.0.0/8:80", "no network such as"),
        ("hooks.internal/path", "no network such as"),
        (":80", "names no host"),
    ],
)
def test_what_is_none_is_refused_at_start_by_name(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match="PROMPTMILL_WEBHOOK_ALLOW") as refused:
        Settings.load(webhook_allow=text)
    assert why in str(refused.value)
