"""Posts to receivers of webhooks, and answers of the resolver that a test chooses."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from common.allowed import Allowed
from worker.receiver_call import post

NOBODY = Allowed.parse("")
HEADERS = {"content-type": "application/json"}


def send(url: str, allowed: Allowed = NOBODY, timeout: float = 5.0) -> int:
    return post(url, b"{}", HEADERS, allowed=allowed, timeout=timeout)


def resolve_to(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Make the resolver give each answer in turn, and the last one from then on. Returns the list
    of names that it is asked for."""
    asked: list[str] = []
    left = list(answers)
    real = socket.getaddrinfo

    def lookup(host: str, port: int, *args: Any, **kwargs: Any) -> list[Any]:
        if host[0].isdigit() or ":" in host:
            return real(host, port, *args, **kwargs)
        asked.append(host)
        addresses = left.pop(0) if len(left) > 1 else left[0]
        return [
            entry for address in addresses for entry in real(address, port, type=socket.SOCK_STREAM)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    return asked
