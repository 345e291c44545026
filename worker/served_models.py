"""The models that a worker process serves: its model, and it with each of its adapters, which are
models of their own.

Each has a model server, and so an incarnation, a lease, a queue and fairness among tenants of its
own. With adapters they share one engine and its slots.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import redis

from common.rings import RingSender
from common.settings import Settings
from common.types import ModelCard
from worker.adapters import Adapter, card_with
from worker.model_server import ModelServer, kept_slots
from worker.models import OpenedModel
from worker.shared_engine import EngineOfModel, SharedEngine
from worker.shared_slots import SharedSlots


class ServedModels:
    """The model servers of a process, the model without an adapter first. Call `start` and `join`
    first, then `ring` for each ring."""

    def __init__(
        self, client: redis.Redis, settings: Settings, opened: OpenedModel, ring_sender: RingSender
    ):
        if opened.adapters:
            self._servers = _sharing(client, settings, opened, ring_sender, self._wake)
        else:
            server = ModelServer(client, settings, opened, ring_sender)
            self._servers = {opened.card.id: server}

    def __iter__(self) -> Iterator[ModelServer]:
        return iter(self._servers.values())

    def start(self) -> None:
        """Start the engine, which warms up."""
        for server in self:
            server.start()

    def join(self) -> None:
        """Publish all cards, then take the leases."""
        for server in self:
            server.publish()
        for server in self:
            server.register()

    def ring(self, model: str) -> None:
        """A ring came for this model. The only one has its turn in the caller's thread; Celery has
        too few for the turns of several."""
        if len(self._servers) == 1:
            next(iter(self)).turn()
        elif model in self._servers:
            self._wake(model)

    def _wake(self, model: str) -> None:
        self._servers[model].wake()

    def drain(self, grace: float | None = None) -> None:
        """Take no more items; `grace` is in seconds, None for the settings'."""
        for server in self:
            server.drain(grace)

    def stop(self, grace: float | None = None) -> None:
        """Drain and stop all of them; at the same time, because each may take the grace period."""
        self.drain(grace)
        with ThreadPoolExecutor(len(self._servers), "stop") as threads:
            list(threads.map(ModelServer.stop, self))


def _sharing(
    client: redis.Redis,
    settings: Settings,
    opened: OpenedModel,
    ring_sender: RingSender,
    wake: Callable[[str], None],
) -> dict[str, ModelServer]:
    """A server for the model, and one for it with each adapter."""
    cards: dict[str, tuple[ModelCard, Adapter | None]] = {opened.card.id: (opened.card, None)}
    for adapter in opened.adapters:
        card = card_with(opened.card, adapter)
        cards[card.id] = card, adapter
    slots = SharedSlots(cards, opened.engine.slots, kept_slots(settings, opened.card), wake)
    shared = SharedEngine(opened.engine, slots)
    return {
        name: ModelServer(
            client,
            settings,
            replace(opened, engine=EngineOfModel(shared, name, adapter), card=card),
            ring_sender,
            slots.of(name),
        )
        for name, (card, adapter) in cards.items()
    }
