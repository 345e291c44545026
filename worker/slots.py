"""How many slots an exchange may fill: what a worker asks before it takes items, and tells after.

Knows neither the store nor what runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from worker.engine.protocol import Engine


@dataclass(frozen=True, slots=True)
class Room:
    """Slots for new items; the last `kept` of them are for interactive jobs only."""

    slots: int
    kept: int


class Slots(Protocol):
    """The slots of an engine as one model that it serves may use them."""

    shared: bool  # with other models

    def ask(self) -> Room:
        """The slots that may be filled now. They are promised to the caller until `settle`."""
        ...

    def settle(self, *, took: bool, more: bool) -> None:
        """What was claimed for these slots is submitted; the rest is free for others. `took`:
        anything was; `more`: items wait that had too few slots."""
        ...


class OwnSlots:
    """All slots of an engine that serves one model, `kept` of them for interactive jobs."""

    shared = False

    def __init__(self, engine: Engine, kept: int):
        self._engine = engine
        self._kept = kept

    def ask(self) -> Room:
        return Room(self._engine.room(), self._kept)

    def settle(self, *, took: bool, more: bool) -> None:
        """There is nobody to leave any to."""
