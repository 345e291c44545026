"""Finds the client's address, the scheme and the host of a request that came through reverse
proxies.

A proxy sends them as X-Forwarded-For, -Proto and -Host. Any client can send these headers too, so
they are used only from the addresses in `PROMPTMILL_TRUSTED_PROXIES`. The app then finds the values
in their usual places: `request.remote_addr`, `request.is_secure` and `request.host`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from common.networks import IPAddress, Network, parse_address

HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(:[0-9]{1,5})?")
# An address with its port.
FORWARDED = re.compile(r"\[(?P<six>[^\]]+)\](:[0-9]+)?|(?P<four>[0-9.]+):[0-9]+")


@dataclass(frozen=True)
class Seen:
    """How a client sent a request. `scheme` is `http` or `https`; `host` may have a port, and is
    None if the request does not name it."""

    address: str
    scheme: str
    host: str | None


def see(environ: WSGIEnvironment, trusted: tuple[Network, ...]) -> Seen:
    """How this request was sent, by its connection and by what trusted proxies say."""
    seen = Seen(
        environ.get("REMOTE_ADDR", ""), environ["wsgi.url_scheme"], environ.get("HTTP_HOST")
    )
    address = client_address(seen.address, environ.get("HTTP_X_FORWARDED_FOR", ""), trusted)
    if not _is_in(parse_address(seen.address), trusted):
        return Seen(address, seen.scheme, seen.host)
    scheme, host = _last(environ, "PROTO").lower(), _last(environ, "HOST")
    return Seen(
        address,
        scheme if scheme in ("http", "https") else seen.scheme,
        host if HOST.fullmatch(host) else seen.host,
    )


def client_address(peer: str, forwarded: str, trusted: tuple[Network, ...]) -> str:
    """The address of the client whose request came from `peer` with this X-Forwarded-For. Each
    proxy adds at the end the address that it got the request from, so the client is the last that
    is not a trusted proxy. What comes before it may have been written by the client itself."""
    client = parse_address(peer)
    if client is None:
        return peer
    for part in reversed(forwarded.split(",")):
        found = FORWARDED.fullmatch(part.strip())
        address = parse_address((found["six"] or found["four"]) if found else part.strip())
        if not _is_in(client, trusted) or address is None:
            break
        client = address
    return str(client)


class Proxies:
    """WSGI middleware: shows the app a request as its client sent it."""

    def __init__(self, app: WSGIApplication, trusted: tuple[Network, ...]):
        self._app = app
        self._trusted = trusted

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        seen = see(environ, self._trusted)
        environ |= {"REMOTE_ADDR": seen.address, "wsgi.url_scheme": seen.scheme}
        if seen.host is not None:
            environ["HTTP_HOST"] = seen.host
        return self._app(environ, start_response)


def _last(environ: WSGIEnvironment, what: str) -> str:
    """The value of the nearest proxy, where several set one."""
    said: str = environ.get(f"HTTP_X_FORWARDED_{what}", "")
    return said.rpartition(",")[2].strip()


def _is_in(address: IPAddress | None, networks: tuple[Network, ...]) -> bool:
    return address is not None and any(address in network for network in networks)
