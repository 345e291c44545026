"""Starts and stops the model servers with Celery: the model loads in a bootstep, because only a
failing bootstep stops the worker."""

from __future__ import annotations

import gc
import logging
import os
import secrets
import socket
import threading
from functools import partial
from typing import Any

import redis
from celery import bootsteps
from celery.signals import worker_shutting_down

from common import log as logs
from common.adapters import parse_adapters
from common.errors import ConfigError, EngineError, Unavailable
from common.rings import RingSender
from common.settings import Settings
from common.store.connection import START_WAIT, connect, when_up
from common.store.fleet import Fleet
from common.store.version import meet_store
from common.vllm_args import VllmArgs
from worker.engine.vllm.options import VllmOptions
from worker.gpu import GpuClaim, claim_gpus
from worker.heartbeat import Heartbeat
from worker.models import OpenedModel, open_model
from worker.process_end import GPU_LOST, end_process
from worker.served_models import ServedModels
from worker.ticker import Ticker

log = logging.getLogger(__name__)

REDIS_SHARE = 0.4  # of the lease: how long a call may wait for Redis
HAND_BACK_LIMIT = 20.0  # seconds in which a worker that lost a GPU may hand back its items


class ServeStep(bootsteps.StartStopStep):
    """Claims a GPU, opens the model, publishes it and serves it until Celery stops."""

    # Stopped before the pool, which waits for its threads: the turn must end first.
    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **options: Any):
        super().__init__(parent, **options)
        parent.served = None

    def start(self, parent: Any) -> None:
        settings = parent.app.settings
        logs.set_up(settings.log_format)
        try:
            self._serve(parent, settings)
        except (ConfigError, EngineError, Unavailable) as error:
            log.critical("%s", error)
            raise SystemExit(2 if isinstance(error, ConfigError) else 1) from None

    def _serve(self, parent: Any, settings: Settings) -> None:
        _refuse_own_alias(settings)
        # This limit is well within the lease: a call on a dead connection must fail before the
        # lease expires.
        client = connect(
            settings.redis_url,
            replicas=settings.replicas,
            socket_timeout=max(1.0, settings.lease * REDIS_SHARE),
        )
        when_up(client, START_WAIT, partial(meet_store, client))
        ring_sender = RingSender(settings.redis_url)
        # Ticks begin before the model is loaded: the items of a killed worker are then free when
        # this one is ready.
        self.ticker = Ticker(Fleet(client), ring_sender, settings)
        self.ticker.start()
        self.gpus = self._claim_gpus(client, settings)
        self.served = ServedModels(client, settings, _open_model(settings), ring_sender)
        parent.served = parent.app.served = self.served
        self.served.start()
        freeze_loaded()
        # Redis may have stopped while the model was loaded.
        when_up(client, START_WAIT, self.served.join)
        worker_shutting_down.connect(self._drain, weak=False)
        self.heartbeat = Heartbeat(client, list(self.served), settings)
        self.heartbeat.start()

    def _drain(self, **_: Any) -> None:
        self.served.drain()

    def _claim_gpus(self, client: redis.Redis, settings: Settings) -> GpuClaim | None:
        """The GPUs of this process; None on the CPU, and for the echo engine."""
        if settings.device == "cpu" or settings.is_echo:
            return None
        # A container that is started again may have the name and the process id of the one before.
        owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        wanted, lost = settings.gpus_per_worker, self._end_without_gpus
        return when_up(client, START_WAIT, partial(claim_gpus, client, owner, wanted, lost))

    def _end_without_gpus(self) -> None:
        """Another worker uses a GPU of this one: end, and hand back first what it computes on it,
        if the model is loaded."""
        limit = threading.Timer(HAND_BACK_LIMIT, end_process, [GPU_LOST])
        limit.daemon = True
        limit.start()
        if hasattr(self, "heartbeat"):
            self.served.stop(grace=0)
        end_process(GPU_LOST)

    def stop(self, _parent: Any) -> None:
        if not hasattr(self, "heartbeat"):  # the start failed
            return
        self.served.stop()
        self.ticker.stop()
        self.heartbeat.stop()
        if self.gpus:
            self.gpus.release()


def freeze_loaded() -> None:
    """Leave what is loaded by now out of garbage collections.

    Torch, transformers and the model are some 360,000 objects, which live as long as the process. A
    full collection looks at each of them: with 256 rows one stops the engine every 700 steps or so,
    for a quarter of a second and more.
    """
    gc.collect()
    gc.freeze()


def _refuse_own_alias(settings: Settings) -> None:
    for name in settings.served_models:
        if name in settings.aliases:
            raise ConfigError(
                f"PROMPTMILL_MODEL_ALIASES: {name} is this worker's own model, so it "
                f"cannot stand for {settings.aliases[name]}; leave it out, or set "
                "PROMPTMILL_SERVED_NAME"
            )


def _open_model(settings: Settings) -> OpenedModel:
    return open_model(
        settings.model,
        engine=settings.engine,
        device=settings.device,
        dtype=settings.dtype,
        kernels=settings.kernels,
        quantize=settings.quantize,
        vllm=VllmOptions(
            settings.tensor_parallel,
            settings.pipeline_parallel,
            settings.quantization,
            settings.gpu_memory,
            VllmArgs.parse(settings.vllm_args).given,
        ),
        slots=settings.slots,
        served_name=settings.model_name,
        defaults=settings.model_defaults == "on",
        context=settings.context,
        cache=settings.cache,
        echo_delay=settings.echo_delay,
        echo_fail_on=settings.echo_fail_on,
        adapters=parse_adapters(settings.adapters),
    )
