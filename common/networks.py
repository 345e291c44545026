"""Parses addresses and networks in settings. Host names are refused: their addresses may change."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_networks(text: str) -> tuple[Network, ...]:
    """Comma-separated addresses and networks (`10.0.0.0/8`, `::1`), in order.

    Raises:
        ValueError: a part is neither; the message names it.
    """
    return tuple(_network(part.strip()) for part in text.split(",") if part.strip())


@lru_cache(1024)  # every request parses the address of its client
def parse_address(text: str) -> IPAddress | None:
    """An address; IPv4-mapped ones (`::ffff:10.0.0.1`) as IPv4. None for other texts."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address


def _network(part: str) -> Network:
    try:
        return ipaddress.ip_network(part)
    except ValueError as error:
        wrong = "has host bits set" in str(error)
        hint = f"; its network is {ipaddress.ip_network(part, strict=False)}" if wrong else ""
        raise ValueError(
            f"{part!r} is no address and no network such as 10.0.0.0/8{hint}"
        ) from None
