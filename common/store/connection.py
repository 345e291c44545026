"""Connections to the Redis server: every wait has a limit, and errors that pass are `Unavailable`.
Knows no keys."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from common.errors import Unavailable
from common.store.address import Address

log = logging.getLogger(__name__)

T = TypeVar("T")

# Seconds a worker waits for Redis at its start; after that its supervisor should know.
START_WAIT = 120.0
POOL_WAIT = 10  # seconds for a connection of a pool to become free
MOST = 1000  # connections of a pool, if nothing else is said


class Client(redis.Redis):
    """A connection pool to the server, which knows how many of its `replicas` must have what is
    promised."""

    replicas = 0


class SentinelPool(SentinelConnectionPool, redis.BlockingConnectionPool):
    """Connections to the primary server that the Sentinels name. A connection to a server that is
    not the primary any more is closed when it returns to the pool; used again, it opens to the new
    one."""

    def release(self, connection: Any) -> None:
        if (connection.host, connection.port) != self.master_address:
            connection.disconnect()
        super().release(connection)

    def owns_connection(self, connection: Any) -> bool:
        return bool(redis.ConnectionPool.owns_connection(self, connection))


def connect(url: str, *, most: int = 0, replicas: int = 0, **options: Any) -> Client:
    """A client whose every wait is bounded. Lost replies are re-sent, which all our scripts expect.

    A caller that finds none of the `most` connections free waits for one. Scripts that promise
    something wait for `replicas`.

    Answers stay bytes; `decode_responses` would break the compressed ones.
    """
    waits = {"socket_timeout": 5, "socket_connect_timeout": 2, "health_check_interval": 5} | options
    waits["retry"] = Retry(ExponentialBackoff(cap=0.5, base=0.05), 3)
    client = Client.from_pool(_pool(Address.parse(url), most or MOST, waits))
    client.replicas = replicas
    return client


def _pool(address: Address, most: int, waits: dict[str, Any]) -> redis.ConnectionPool:
    options = waits | address.login | {"db": address.db}
    limits = {"max_connections": most, "timeout": POOL_WAIT}
    if address.path:
        socket = {"connection_class": redis.UnixDomainSocketConnection, "path": address.path}
        return redis.BlockingConnectionPool(**options, **limits, **socket)
    options["socket_keepalive"] = True
    if address.service:
        sentinels = Sentinel(address.hosts, sentinel_kwargs=waits | address.sentinel_login)
        return SentinelPool(address.service, sentinels, **options, **limits)
    ((host, port),) = address.hosts
    kind = redis.SSLConnection if address.scheme == "rediss" else redis.Connection
    return redis.BlockingConnectionPool(
        connection_class=kind, host=host, port=port, **options, **limits, **address.options
    )


def wait_until_up(client: redis.Redis, seconds: float) -> None:
    """Wait for a server that is starting or away; a part that starts before it is no mistake.

    Raises:
        Unavailable: it is not there after `seconds`.
    """
    end, told = time.monotonic() + seconds, False
    while True:
        try:
            with redis_errors():
                client.ping()
            return
        except Unavailable:
            if time.monotonic() > end:
                raise
            if not told:
                log.warning("waiting for Redis, %.0f s at most", seconds)
                told = True
            time.sleep(0.2)


def when_up(client: redis.Redis, seconds: float, action: Callable[[], T]) -> T:
    """What `action` gives, tried again while the server is away.

    Raises:
        Unavailable: it failed after `seconds`, too.
    """
    end = time.monotonic() + seconds
    while True:
        wait_until_up(client, end - time.monotonic())
        try:
            return action()
        except Unavailable:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


@contextmanager
def redis_errors() -> Iterator[None]:
    """Turn what redis-py raises when the server is away, loading, full or read-only into
    `Unavailable`."""
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise Unavailable("Redis cannot be reached; try again in a few seconds") from error
    except redis.ResponseError as error:
        if isinstance(error, redis.OutOfMemoryError):
            raise Unavailable(
                "Redis is full; try again when jobs have finished or were deleted",
                code="server_full",
            ) from error
        # `version.py`; a part that starts says more and ends.
        if str(error).startswith("PMVERSION"):
            raise Unavailable(
                f"{str(error).removeprefix('PMVERSION ')}: update it", code="outdated"
            ) from error
        if str(error).startswith("PMRESTORE"):
            raise Unavailable(
                "a backup is being restored; try again when that is done", code="restoring"
            ) from error
        if why := _passing(error):
            raise Unavailable(f"Redis {why}; try again later") from error
        raise


def _passing(error: redis.ResponseError) -> str:
    """Why a server that is there does not take a command now; empty if the command itself is at
    fault. The error's own text may hold what was to be stored, so it is not passed on."""
    if isinstance(error, redis.ReadOnlyError):
        return "takes no writes now"
    code = re.search(
        r"(?:^|caused error: )(EXECABORT|MISCONF|MASTERDOWN|BUSY|NOREPLICAS)\b", str(error)
    )
    if isinstance(error, redis.exceptions.ExecAbortError) or code:
        return f"cannot take this now ({code[1] if code else 'EXECABORT'})"
    return ""
