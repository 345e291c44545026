"""The address that the web tier is to listen on: usable, or refused in a sentence."""

from __future__ import annotations

import socket

import pytest

from common.errors import ConfigError
from web import serve
from web.serve import wait_for_address


def test_a_port_that_is_taken_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "ADDRESS_WAIT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            ConfigError, match=rf"cannot listen on 127.0.0.1:{port}: .* in use; .*PROMPTMILL_PORT"
        ):
            wait_for_address("127.0.0.1", port)
    wait_for_address("127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", r"\[2001:db8::1\]"),
        ("no.host.invalid", "no.host.invalid"),
    ],
)
def test_a_host_that_is_not_this_machine_is_refused_by_name(host: str, shown: str) -> None:
    with pytest.raises(ConfigError, match=rf"cannot listen on {shown}:8000: .*PROMPTMILL_HOST"):
        wait_for_address(host, 8000)
