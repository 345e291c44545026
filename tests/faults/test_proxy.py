"""The proxy breaks the network as it says, and only then."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import redis

from bench.lib.proxy import SCRIPT, Network, Proxy


@pytest.fixture
def proxy(redis_url: str) -> Iterator[Proxy]:
    network = Network()
    network.start()
    yield network.proxy(urlsplit(redis_url).port or 0, SCRIPT)
    network.stop()


@pytest.fixture
def through(redis_url: str, proxy: Proxy) -> Iterator[redis.Redis]:
    """A client that reaches the server through the proxy, and never sends anything twice."""
    url = urlsplit(redis_url)
    address = url._replace(netloc=f":{url.password}@127.0.0.1:{proxy.port}").geturl()
    with redis.Redis.from_url(address, retry=None, socket_timeout=0.5) as client:
        yield client


def test_it_passes_what_it_is_given(through: redis.Redis) -> None:
    through.set("key", b"x" * 1_000_000)
    assert through.get("key") == b"x" * 1_000_000


def test_a_dropped_reply_is_of_a_script_that_ran(
    proxy: Proxy, through: redis.Redis, redis_client: redis.Redis
) -> None:
    count = through.register_script("return redis.call('INCR', KEYS[1])")
    assert count(keys=["n"]) == 1
    proxy.drop_replies(1)
    assert through.get("n") == b"1", "only marked requests lose their answers"
    with pytest.raises(redis.ConnectionError):
        count(keys=["n"])
    assert (redis_client.get("n"), proxy.dropped) == (b"2", 1)
    assert count(keys=["n"]) == 3


def test_a_refused_reply_is_of_a_script_that_ran(
    proxy: Proxy, through: redis.Redis, redis_client: redis.Redis
) -> None:
    count = through.register_script("return redis.call('INCR', KEYS[1])")
    assert count(keys=["n"]) == 1
    proxy.refuse_replies(1)
    with pytest.raises(redis.exceptions.NoPermissionError):
        count(keys=["n"])
    assert redis_client.get("n") == b"2"


def test_what_was_open_in_a_black_hole_stays_dead_and_new_connections_work_after_it(
    proxy: Proxy, through: redis.Redis
) -> None:
    before = through.connection_pool.get_connection()
    proxy.hold()
    with pytest.raises(redis.TimeoutError):
        through.ping()
    proxy.resume()
    assert through.ping()
    before.send_command("PING", check_health=False)
    with pytest.raises(redis.TimeoutError):
        before.read_response()
