"""What one tenant or one address may keep open at once, over all web processes, so that others find room too."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from common.permits import Kind
from web.proxies import client_address
from web.services import Services

SLOW_BODIES = Kind("body", "slow request bodies of this address")


def take_slow_body(services: Services, headers: Iterable[tuple[str, str]], peer: str) -> Callable[[], None]:
    """A request's body comes slowly; answers what to call when the request is over.

    Raises:
        TooMany: its client sends as many such bodies as one address may.
    """
    forwarded = ",".join(value for name, value in headers if name.upper() == "X-FORWARDED-FOR")
    address = client_address(peer, forwarded, services.settings.trusted_networks)
    return services.permits.take(SLOW_BODIES, address, services.settings.max_slow_bodies)
