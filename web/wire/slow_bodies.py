"""Limits how many request bodies of one address may come slowly, over all web processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from common.store.permits import Kind
from web.services.services import Services
from web.wire.proxies import client_address

SLOW_BODIES = Kind("body", "slow request bodies of this address")


def take_slow_body(
    services: Services, headers: Iterable[tuple[str, str]], peer: str
) -> Callable[[], None]:
    """Count a body that comes slowly. Returns what to call when its request is over.

    Raises:
        TooMany: the client's address sends as many such bodies as one may.
    """
    forwarded = ",".join(value for name, value in headers if name.upper() == "X-FORWARDED-FOR")
    address = client_address(peer, forwarded, services.settings.trusted_networks)
    return services.permits.take(SLOW_BODIES, address, services.settings.max_slow_bodies)
