"""How Celery and kombu treat rings when a connection breaks."""

from __future__ import annotations

import redis

from common.rings import WEBHOOK_QUEUE, RingSender, celery_app


def test_a_broken_connection_is_closed_although_a_ring_is_not_acknowledged(
    redis_url: str, redis_client: redis.Redis
) -> None:
    RingSender(redis_url).wake_webhooks()
    connection = celery_app("promptmill.test", redis_url).connection_for_read()
    channel = connection.default_channel
    assert channel.basic_get(WEBHOOK_QUEUE)
    connection.transport.client = None  # as Celery leaves it when it found the connection broken
    channel.close()
    assert redis_client.keys("unacked*") == []
    assert redis_client.llen(WEBHOOK_QUEUE) == 0  # the ring is lost, which the next tick makes good
