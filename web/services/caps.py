"""What one tenant or one address may keep open at once, over all web processes, so that others find
room too."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from common.store.accounts import Grant
from common.store.permits import Kind
from web.services.services import Services
from web.services.watch import Watch
from web.wire.proxies import client_address

STREAMS = Kind("stream", "event streams and long-polls")
CHATS = Kind("chat", "chats and completions", ahead=16)  # there are hundreds a second
SLOW_BODIES = Kind("body", "slow request bodies of this address")


def take_slow_body(
    services: Services, headers: Iterable[tuple[str, str]], peer: str
) -> Callable[[], None]:
    """A request's body comes slowly; answers what to call when the request is over.

    Raises:
        TooMany: its client sends as many such bodies as one address may.
    """
    forwarded = ",".join(value for name, value in headers if name.upper() == "X-FORWARDED-FOR")
    address = client_address(peer, forwarded, services.settings.trusted_networks)
    return services.permits.take(SLOW_BODIES, address, services.settings.max_slow_bodies)


@contextmanager
def open_stream(
    services: Services, grant: Grant, job_id: str, gone: Callable[[], bool]
) -> Iterator[Watch]:
    """A watch of a job for an event stream or a long-poll, which ends with what let the request in,
    and when its client is `gone`.

    Raises:
        TooMany: the tenant has as many open as it may.
        Unavailable: this process has.
    """
    most = services.settings.max_streams
    with (
        services.permits.hold(STREAMS, grant.tenant, most),
        services.changes.watch(job_id) as watch,
        services.guard.guarded(grant, watch),
    ):
        watch.gone = gone
        yield watch


@contextmanager
def open_chat(services: Services, grant: Grant, job_id: str) -> Iterator[Watch]:
    """The same for a chat or a completion."""
    most = services.settings.max_chats
    with (
        services.permits.hold(CHATS, grant.tenant, most),
        services.changes.watch(job_id, chat=True) as watch,
        services.guard.guarded(grant, watch),
    ):
        yield watch
