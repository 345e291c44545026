"""Rings: the Celery messages that say there is work; and the configuration of the Celery apps.

A ring carries no work. It is acknowledged early, and losing or repeating it is harmless
(docs/decisions/0001-rings.md). Tasks are sent by name, so that a sender does not import the worker.
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
EVALUATE = "promptmill.evaluate"
EVALUATE_QUEUE = "evaluate"
# Seconds; with kombu's defaults a half-open TCP connection is waited for without end.
BOUNDS = {"socket_timeout": 5, "socket_connect_timeout": 2}


# Rings that were received and not acknowledged are not put back in the queue. Kombu would do that
# while it closes a broken connection whose address it has forgotten, and the AttributeError would
# end the worker (seen after 5 of 15 kills of the server).
Channel.do_restore = False


def generate_queue(model: str) -> str:
    """The queue of a model's rings. `lua/lib/wakes.lua` has the same name, to count them."""
    return f"generate.{model}"


def celery_app(name: str, redis_url: str) -> Celery:
    """A Celery app that carries rings only. Each option avoids a known fault of Celery on Redis."""
    address = Address.parse(redis_url)
    app = Celery(name)
    app.conf.update(
        **address.broker(),
        task_ignore_result=True,  # results are in the JobStore
        task_acks_late=False,  # a stale worker's late ack would delete the record of the next owner
        worker_disable_prefetch=True,  # a ring waits in the list, where the tick can count it
        broker_channel_error_retry=True,  # a full or read-only server must not end the worker
        broker_connection_retry_on_startup=True,
        # No limit: the worker continues when Redis is back.
        broker_connection_max_retries=None,
        broker_pool_limit=4,
        broker_transport_options={
            # A record of each unacknowledged message costs two round trips, and rings may be lost.
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


class RingSender:
    """Sends rings to workers. Safe for threads; one per process."""

    def __init__(self, redis_url: str):
        self._app = celery_app("promptmill.rings", redis_url)

    def send(self, model: str, count: int = 1) -> None:
        """Send `count` rings to the workers of a model. One that cannot be sent is replaced by the
        next tick.

        Raises:
            Unavailable: Redis cannot be reached.
        """
        for _ in range(count):
            self._send(GENERATE, generate_queue(model), [model])

    def wake_webhooks(self, *, rung: bool = False) -> None:
        """Send a ring to the webhook workers, unless one waits in their queue (`rung`): where no
        webhook worker runs, each tick would add another.

        Raises:
            Unavailable: Redis cannot be reached.
        """
        if not rung:
            self._send(DELIVER, WEBHOOK_QUEUE, [])

    def wake_evaluator(self) -> None:
        """Send a ring to the evaluators.

        Raises:
            Unavailable: Redis cannot be reached.
        """
        self._send(EVALUATE, EVALUATE_QUEUE, [])

    def _send(self, task: str, queue: str, args: list[str]) -> None:
        # Without `expires`, which compares the clocks of two machines: a ring too many is harmless.
        try:
            self._app.send_task(task, args=args, queue=queue, retry=False)
        except (OperationalError, RedisError, OSError) as error:
            raise Unavailable("Redis cannot be reached to ring a worker") from error
