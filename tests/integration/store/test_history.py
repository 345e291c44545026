"""The last hour of the workers: a sample a minute, sixty at most, also where the clock stood
still."""

from __future__ import annotations

import json

import redis

from common.store import history, keys
from common.store.fleet import Fleet
from common.store.history import last_hour
from common.store.incarnation import Incarnation
from tests.support.cards import card


def test_the_tick_notes_one_sample_a_minute(redis_client: redis.Redis) -> None:
    fleet = Fleet(redis_client)
    fleet.publish(card(), b"")
    fleet.tick(5.0, 3)
    assert redis_client.llen(keys.HISTORY) == 0  # no worker, nothing to note
    worker = Incarnation(redis_client, card(), lease=30)
    worker.register({"host": "box", "pid": "1", "started_at": "1"})
    redis_client.hset(keys.METRICS, "generated_tokens\x1fecho", 120)
    redis_client.hset(keys.queued(), "items", 7)
    for _ in range(3):
        redis_client.hdel("pm:tick", "at")
        redis_client.hset("pm:tick", "minute", 0)
        fleet.tick(5.0, 3)
    assert redis_client.llen(keys.HISTORY) == 3
    redis_client.hdel("pm:tick", "at")
    fleet.tick(5.0, 3)
    assert redis_client.llen(keys.HISTORY) == 3
    sample = json.loads(redis_client.lindex(keys.HISTORY, -1) or b"")
    assert (sample["waiting"], sample["tokens"]) == (7, {"echo": "120"})
    assert 0 < redis_client.ttl(keys.HISTORY) <= 7200
    redis_client.delete(keys.queued())


def test_an_hour_is_kept_and_no_more(redis_client: redis.Redis) -> None:
    fleet = Fleet(redis_client)
    Incarnation(redis_client, card(), lease=30).register(
        {"host": "box", "pid": "1", "started_at": "1"}
    )
    for _ in range(70):
        redis_client.hdel("pm:tick", "at")
        redis_client.hset("pm:tick", "minute", 0)
        fleet.tick(5.0, 3)
    assert redis_client.llen(keys.HISTORY) == history.MINUTES + 1


def note(client: redis.Redis, minute: int, waiting: int, **tokens: int) -> None:
    client.rpush(keys.HISTORY, json.dumps({"minute": minute, "waiting": waiting, "tokens": tokens}))
    client.expire(keys.HISTORY, 60)


def test_minutes_are_what_came_between_two_samples(redis_client: redis.Redis) -> None:
    assert last_hour(redis_client) == []
    now = redis_client.time()[0] // 60
    note(redis_client, now - 3, 5, echo=100, other=7)
    note(redis_client, now - 2, 9, echo=160, other=7)
    redis_client.rpush(keys.HISTORY, b"damaged")
    note(redis_client, now, 2, echo=10)  # a minute is missing, and the counter began anew
    minutes = last_hour(redis_client)
    assert len(minutes) == history.MINUTES
    assert minutes[-3].tokens == {"echo": 60, "other": 0}
    assert minutes[-3].waiting == 9
    assert minutes[-2].tokens is None
    assert (minutes[-1].waiting, minutes[-1].tokens) == (2, None)
    assert all(each.tokens is None for each in minutes[:-3])
