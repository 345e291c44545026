"""The HTTP client of the command line: which URLs it accepts."""

from __future__ import annotations

import pytest

from cli.client import Client
from common.errors import ConfigError


@pytest.mark.parametrize(
    "url", ["", "queue:8000", "http://[::1", "http://box:x", "http://box:8000?x", "http://a b"]
)
def test_a_url_that_is_none_is_refused_by_name(url: str) -> None:
    with pytest.raises(ConfigError, match=r"PROMPTMILL_URL="):
        Client(url, "pm_x")


@pytest.mark.parametrize(
    "url",
    ["http://[::1]:8000", "http://[::1]:8000/mill/", "http://127.0.0.1/mill", "http://localhost"],
)
def test_proxies_of_the_environment_are_not_used_for_loopback(url: str) -> None:
    with Client(url, "pm_x") as client:
        assert not client._session.trust_env
        assert client._url == url.rstrip("/")
