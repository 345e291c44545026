"""Tells who sent a request, and how, behind reverse proxies: the client's address, the scheme and
the host.

A proxy says so in X-Forwarded-For, -Proto and -Host. Anybody can send these, so they are believed
of the addresses in `PROMPTMILL_TRUSTED_PROXIES` only. The app finds what is true where it always
looks: `request.remote_addr`, `request.is_secure` and `request.host`.
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
    """What is true of a request. `scheme` is `http` or `https`; `host` may have a port, and is None
    if not told."""

    address: str
    scheme: str
    host: str | None


def see(environ: WSGIEnvironment, trusted: tuple[Network, ...]) -> Seen:
    """Who sent this request, by the connection it came on and what trusted proxies say."""
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
    """Whose request came from `peer` with this X-Forwarded-For. Each proxy adds whom it got a
    request from, at the end: the last that is no proxy of ours is the client. What stands before
    it, the client may have written itself."""
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
    """WSGI middleware: the app sees a request as its client sent it."""

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
    """What the nearest proxy says, where several did."""
    said: str = environ.get(f"HTTP_X_FORWARDED_{what}", "")
    return said.rpartition(",")[2].strip()


def _is_in(address: IPAddress | None, networks: tuple[Network, ...]) -> bool:
    return address is not None and any(address in network for network in networks)
