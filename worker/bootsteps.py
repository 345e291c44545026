"""Ties the runner to Celery's life: the model loads in a bootstep, because a failing one stops the
worker."""

from __future__ import annotations

import logging
import os
import socket
from functools import partial
from typing import Any

from celery import bootsteps
from celery.signals import worker_shutting_down

from common import log as logs
from common.errors import ConfigError, EngineError, Unavailable
from common.rings import Bell
from common.settings import Settings
from common.store.connection import START_WAIT, connect, when_up
from common.store.fleet import Fleet
from common.store.version import meet_store
from worker.gpu import claim_gpu
from worker.heartbeat import Heartbeat
from worker.model_server import Runner
from worker.models import open_model
from worker.ticker import Ticker

log = logging.getLogger(__name__)

REDIS_SHARE = 0.4  # of the lease that a call may wait for Redis


class ServeStep(bootsteps.StartStopStep):
    """Claims a device, opens the model, publishes it, and keeps it alive until Celery stops."""

    # Stopped before the pool: the turn must end for the pool to join.
    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **options: Any):
        super().__init__(parent, **options)
        parent.runner = None

    def start(self, parent: Any) -> None:
        settings = parent.app.settings
        logs.set_up(settings.log_format)
        try:
            self._serve(parent, settings)
        except (ConfigError, EngineError, Unavailable) as error:
            log.critical("%s", error)
            raise SystemExit(2 if isinstance(error, ConfigError) else 1) from None

    def _serve(self, parent: Any, settings: Settings) -> None:
        if settings.model_name in settings.aliases:
            raise ConfigError(
                f"PROMPTMILL_MODEL_ALIASES: {settings.model_name} is this worker's own model, so "
                "it cannot stand for "
                f"{settings.aliases[settings.model_name]}; leave it out, or set "
                "PROMPTMILL_SERVED_NAME"
            )
        # A wait of its own, well within the lease: whoever hangs on a dead connection must be back
        # before it ends.
        client = connect(
            settings.redis_url,
            replicas=settings.replicas,
            socket_timeout=max(1.0, settings.lease * REDIS_SHARE),
        )
        when_up(client, START_WAIT, partial(meet_store, client))
        bell = Bell(settings.redis_url)
        # Ticking before the model is loaded: what a killed worker held is free by the time this one
        # can take it.
        self.ticker = Ticker(Fleet(client), bell, settings)
        self.ticker.start()
        use_gpu = (
            settings.device != "cpu" and settings.model != "echo" and settings.engine != "echo"
        )
        owner = f"{socket.gethostname()}:{os.getpid()}"
        self.gpu = (
            when_up(client, START_WAIT, partial(claim_gpu, client, owner)) if use_gpu else None
        )
        opened = open_model(
            settings.model,
            engine=settings.engine,
            device=settings.device,
            dtype=settings.dtype,
            slots=settings.slots,
            served_name=settings.model_name,
            defaults=settings.model_defaults == "on",
            context=settings.context,
            cache=settings.cache,
            echo_delay=settings.echo_delay,
            echo_fail_on=settings.echo_fail_on,
        )
        self.runner = parent.app.runner = Runner(client, settings, opened, bell)
        self.runner.start()
        # It may have gone away while the model was loaded.
        when_up(client, START_WAIT, self.runner.join)
        worker_shutting_down.connect(self._drain, weak=False)
        self.heartbeat = Heartbeat(client, self.runner, settings)
        self.heartbeat.start()

    def _drain(self, **_: Any) -> None:
        self.runner.drain()

    def stop(self, _parent: Any) -> None:
        if not hasattr(self, "heartbeat"):  # it never came to serve
            return
        self.runner.stop()
        self.ticker.stop()
        self.heartbeat.stop()
        if self.gpu:
            self.gpu.release()
