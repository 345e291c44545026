"""Receivers of webhooks: which of them may be called, and at which address. Knows nothing of Redis
or Celery.

Tenants choose these URLs and this host calls them, so a URL must not reach what only this host can
reach. Every address behind a name is checked, and the call goes to the address that was checked: a
DNS answer that changes in between (DNS rebinding) has no effect (docs/decisions/0006-webhooks.md).
"""

from __future__ import annotations

import ipaddress
import logging
import socket
from urllib.parse import SplitResult, urlsplit

from common.allowed import Allowed

PORTS = {"http": 80, "https": 443}

# Networks that are not public, though Python's tables (of some versions) say so: addresses with
# another address inside (NAT64, 6to4, Teredo, IPv4-compatible), and some that the tables lack.
# IPv4-mapped addresses are unwrapped instead, because resolvers return them for ordinary hosts.
REFUSED_NETS = tuple(
    ipaddress.ip_network(net)
    for net in (
        "168.63.129.16/32",  # Azure's own services, on every machine there
        *("100.64.0.0/10", "192.0.0.0/24", "192.88.99.0/24"),
        *("::/96", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/23", "2002::/16"),
        *("3fff::/20", "5f00::/16", "fec0::/10"),
    )
)

log = logging.getLogger(__name__)


class ReceiverForbidden(Exception):
    """This receiver must not be called, now or later. The message is for the tenant, so it has no
    address in it."""


class ReceiverUnreachable(Exception):
    """No answer came: the name does not resolve, nothing listens, TLS fails, or the time is over. A
    later try may succeed."""


def is_public(address: str) -> bool:
    """Whether an address is on the public Internet, where every host could call it."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ip.ipv4_mapped or ip
    special = (
        ip.is_multicast or ip.is_reserved or ip.is_unspecified or ip.is_loopback or ip.is_link_local
    )
    return ip.is_global and not special and not any(ip in net for net in REFUSED_NETS)


def split(url: str) -> tuple[SplitResult, str, int]:
    """The parts of a URL, its host and its port.

    Raises:
        ReceiverForbidden: a webhook cannot have this URL.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ReceiverForbidden(f"not a URL: {error}") from error
    if parts.scheme not in PORTS or not parts.hostname:
        raise ReceiverForbidden("a webhook's URL begins with http:// or https:// and names a host")
    if parts.username is not None:
        raise ReceiverForbidden(
            "a webhook's URL carries no user name or password; the signature says who calls"
        )
    return parts, parts.hostname, port or PORTS[parts.scheme]


def resolve(host: str, port: int, allowed: Allowed) -> list[str]:
    """The addresses of a host; all of them may be called.

    Raises:
        ReceiverForbidden: an address is not public, and no administrator allowed it or the host.
        ReceiverUnreachable: the name does not resolve.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # UnicodeError: no valid IDNA label
        raise ReceiverUnreachable(f"{host} does not resolve") from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if allowed.host(host, port):
        return addresses
    for address in addresses:
        if not is_public(address) and not allowed.address(address):
            target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            log.warning("no webhook goes to %s, which is not a public address: %s", address, target)
            advice = f"an administrator may allow it (PROMPTMILL_WEBHOOK_ALLOW={target})"
            raise ReceiverForbidden(f"{host} is not at a public address; {advice}")
    return addresses
