"""Reads `PROMPTMILL_WEBHOOK_ALLOW`: the private addresses that webhooks may call. Makes no calls.

    HOST | HOST:PORT | ADDRESS | [IPV6] | [IPV6]:PORT | NETWORK/BITS      separated by commas

A host is compared with the host in the URL, and allows every address of that name. A network allows
its addresses, whatever name they have.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from common.networks import Network, parse_address, parse_networks

ENTRY = re.compile(r"(\[(?P<six>[^\]]+)\]|(?P<name>\w[\w.-]{0,252}))(:(?P<port>.*))?")
PORT = re.compile(r"[0-9]{1,5}")


@dataclass(frozen=True)
class Allowed:
    """`hosts` are those of URLs, each with its port or None for all; `networks` allow all ports."""

    hosts: frozenset[tuple[str, int | None]] = frozenset()
    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Allowed:
        """Read the setting.

        Raises:
            ValueError: an entry has none of the forms above; the message names it and says why.
        """
        entries = [entry.strip() for entry in text.split(",") if entry.strip()]
        for entry in entries:
            if "://" in entry:
                raise ValueError(f"{entry!r} has a scheme; name the host alone, or HOST:PORT")
        hosts = frozenset(_host(entry) for entry in entries if "/" not in entry)
        return cls(hosts, parse_networks(",".join(entry for entry in entries if "/" in entry)))

    def host(self, host: str, port: int) -> bool:
        """Whether a URL with this host and port may be called, at any address."""
        return any((_canonical(host), each) in self.hosts for each in (port, None))

    def address(self, address: str) -> bool:
        """Whether an address may be called, for any host."""
        found = parse_address(address)
        return found is not None and any(found in network for network in self.networks)


def _canonical(host: str) -> str:
    """A host in the spelling that is compared."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host.lower()


def _host(entry: str) -> tuple[str, int | None]:
    if _is_ipv6(entry):  # brackets are needed only before a port
        return _canonical(entry), None
    match = ENTRY.fullmatch(entry)
    if not match or (match["six"] and not _is_ipv6(match["six"])):
        raise ValueError(
            f"{entry!r} names no host; write HOST, HOST:PORT, [IPV6]:PORT or a network such as "
            "10.0.0.0/8"
        )
    if match["port"] is None:
        return _canonical(match["six"] or match["name"]), None
    if not PORT.fullmatch(match["port"]) or not 0 < int(match["port"]) < 65536:
        raise ValueError(
            f"{entry!r} has the port {match['port']!r}; a port is a number from 1 to 65535"
        )
    return _canonical(match["six"] or match["name"]), int(match["port"])


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 6
    except ValueError:
        return False
