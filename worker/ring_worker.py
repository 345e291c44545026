"""A Celery worker without a model, whose messages are rings: there is something to do, and the
store says what. The webhook worker and the evaluator are such."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from celery import Celery, signals

from common import log as logs
from common.rings import RingSender, celery_app
from common.settings import Settings
from worker.local_turn import LocalTurn
from worker.tick_step import TickStep


@dataclass(frozen=True)
class RingWorker:
    """What a ring worker does. `work` goes on until nothing is left, or `closing` is set, which is
    when the worker is told to end; what it does then may take `close` seconds. `ring_sender` makes
    what the worker's tick rings through, of the Redis URL and the turn that begins here."""

    name: str
    task: str
    queue: str
    threads: int
    work: Callable[[], None]
    closing: threading.Event
    close: float
    ring_sender: Callable[[str, LocalTurn], RingSender]


def ring_app(part: RingWorker, with_settings: Settings) -> Celery:
    """Its Celery app, with a tick of its own. A process has one."""
    turn = LocalTurn(part.work)
    app = celery_app(part.name, with_settings.redis_url)
    app.conf.update(
        task_default_queue=part.queue,
        worker_pool="threads",
        worker_concurrency=part.threads,
    )

    class Ticks(TickStep):
        settings = with_settings
        ring_sender = part.ring_sender(with_settings.redis_url, turn)

        def end_turn(self) -> None:
            turn.close(part.close)

    app.steps["worker"].add(Ticks)
    app.task(name=part.task)(part.work)

    def close(**_: Any) -> None:
        part.closing.set()

    def set_up_logging(**_: Any) -> None:
        logs.set_up(with_settings.log_format)

    # Nothing else refers to these functions.
    signals.worker_shutting_down.connect(close, weak=False)
    signals.setup_logging.connect(set_up_logging, weak=False)
    return app
