"""Rings: the Celery messages that say there is work, and the configuration both Celery apps share.

A ring is never the work: it is acknowledged early, losing or repeating it is harmless
(docs/decisions/0001-rings.md). Tasks are sent by name, so that whoever rings needs nothing of the
worker.
"""

from __future__ import annotations

from celery import Celery
from kombu.exceptions import OperationalError
from kombu.transport.redis import Channel
from redis.exceptions import RedisError

from common.errors import Unavailable
from common.store.address import Address

GENERATE = "promptmill.generate"
DELIVER = "promptmill.deliver"
WEBHOOK_QUEUE = "webhooks"
# Seconds; kombu's default waits for ever on half-open TCP.
BOUNDS = {"socket_timeout": 5, "socket_connect_timeout": 2}


# A ring that was taken and not acknowledged is not put back: kombu would do so while it closes a
# broken connection, of which it then knows the address no more, and the AttributeError ends the
# worker (5 of 15 kills of the server).
Channel.do_restore = False


def generate_queue(model: str) -> str:
    """The queue of a model's rings; `lua/lib.lua` counts the rings under way by this name."""
    return f"generate.{model}"


def celery_app(name: str, redis_url: str) -> Celery:
    """A Celery app that only ever carries rings. Each option answers a trap of Celery on Redis."""
    address = Address.parse(redis_url)
    app = Celery(name)
    app.conf.update(
        **address.broker(),
        task_ignore_result=True,  # results are in the JobStore
        task_acks_late=False,  # a late ack by a stale worker would delete the new owner's record
        worker_disable_prefetch=True,  # a ring waits in the list, where the tick can count it
        broker_channel_error_retry=True,  # a full or read-only server must not end the worker
        broker_connection_retry_on_startup=True,
        # For ever: the worker picks up again when Redis is back.
        broker_connection_max_retries=None,
        broker_pool_limit=4,
        broker_transport_options={
            # Records of unacknowledged messages guard what may be lost, for two round trips.
            "ack_emulation": False,
            "master_name": address.service,
            "sentinel_kwargs": BOUNDS | address.sentinel_login,
            **BOUNDS,
            "socket_keepalive": True,
            "health_check_interval": 5,
        },
        accept_content=["json"],
        task_serializer="json",
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_send_task_events=False,
    )
    return app


class Bell:
    """Rings workers. Safe for threads; one per process."""

    def __init__(self, redis_url: str):
        self._app = celery_app("promptmill.bell", redis_url)

    def ring(self, model: str, count: int = 1) -> None:
        """Wake `count` workers of a model. A ring that cannot be sent is no loss: the next tick
        rings again."""
        for _ in range(count):
            self._send(GENERATE, generate_queue(model), [model])

    def deliver(self, *, rung: bool = False) -> None:
        """Wake the webhook worker, unless a ring lies in its queue already (`rung`): where no
        webhook worker runs, each tick of every part would add one."""
        if not rung:
            self._send(DELIVER, WEBHOOK_QUEUE, [])

    def _send(self, task: str, queue: str, args: list[str]) -> None:
        # No `expires`: it would be measured by two machines' clocks, and one ring too many does no
        # harm.
        try:
            self._app.send_task(task, args=args, queue=queue, retry=False)
        except (OperationalError, RedisError, OSError) as error:
            raise Unavailable("Redis cannot be reached to ring a worker") from error
