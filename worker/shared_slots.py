"""Shares the slots of one engine among the models that it serves. Numbers only: knows no engine and
no store.

Models that want slots share them evenly; one alone takes all. A running item is never ended for
that: what becomes free goes to those that have less than their share, the one that waits longest
first (docs/decisions/0020-adapters.md).
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from worker.slots import Room


@dataclass
class _Model:
    """What a model has of the slots, and how long it waits for more."""

    taken: int = 0  # by its requests
    promised: int = 0  # that it asked for, and for which no request has come
    offered: int = 0  # those of the last promise that are not kept for interactive jobs
    since: int | None = None  # its place in the line; None if it waits for none
    refused: int = 0  # slots that were left: too few for what waits
    stuck: bool = False  # it took nothing of them

    @property
    def held(self) -> int:
        return self.taken + self.promised

    def needs_more_than(self, share: int) -> bool:
        """Whether what waits is larger than its share: it then gets all that becomes free."""
        return self.since is not None and self.stuck and not self.taken and self.offered >= share


class SharedSlots:
    """`slots` for these models, `kept` of them for interactive jobs of all. `wake` is called with a
    model that waits and can have some now, without a lock being held."""

    def __init__(
        self, models: Iterable[str], slots: int, kept: int, wake: Callable[[str], None]
    ) -> None:
        self._models = {name: _Model() for name in models}
        self._slots = slots
        self._kept = min(kept, slots)
        self._wake = wake
        self._line = itertools.count()
        self._lock = threading.Lock()

    def of(self, name: str) -> SlotsOfModel:
        return SlotsOfModel(self, name)

    def ask(self, name: str) -> Room:
        with self._lock:
            model = self._models[name]
            room = self._room(model)
            model.promised += room.slots
            model.offered = room.slots - room.kept
            return room

    def settle(self, name: str, *, took: bool, more: bool) -> None:
        with self._lock:
            model = self._models[name]
            model.refused, model.promised = model.promised, 0
            if not more:
                model.since = None
            elif took or model.since is None:
                model.since = next(self._line)
            model.stuck = not took
            waiting = self._waiting_with_room()
        self.wake(waiting)

    def take(self, name: str, count: int) -> None:
        """A request of this model takes so many slots."""
        with self._lock:
            model = self._models[name]
            model.taken += count
            model.promised = max(0, model.promised - count)

    def free(self, counts: Mapping[str, int]) -> list[str]:
        """Requests of these models ended that had so many slots. Answers which models wait, and can
        have some now: to be woken with `wake`."""
        with self._lock:
            for name, count in counts.items():
                self._models[name].taken -= count
            return self._waiting_with_room()

    def wake(self, names: Iterable[str]) -> None:
        for name in names:
            self._wake(name)

    def _waiting_with_room(self) -> list[str]:
        """The models that wait, and may have more slots than were too few for them."""
        if self._free() <= 0:
            return []
        return [
            name
            for name, model in self._models.items()
            if model.since is not None and self._room(model).slots > model.refused
        ]

    def _free(self) -> int:
        return self._slots - sum(model.held for model in self._models.values())

    def _share(self, model: _Model) -> int:
        """An even part of the slots that batch jobs may use, among the models that want some."""
        wanting = sum(
            each is model or each.since is not None or each.taken > 0
            for each in self._models.values()
        )
        return max(1, (self._slots - self._kept) // wanting)

    def _room(self, model: _Model) -> Room:
        """What the model may have now: up to its share after those that wait longer for theirs,
        beyond it what all others that wait leave; and for interactive jobs what is kept."""
        free = max(0, self._free())
        kept = min(free, self._kept)
        usable = free - kept
        share = self._share(model)
        older = younger = 0
        for each in self._models.values():
            if each is model or each.since is None:
                continue
            theirs = usable if each.needs_more_than(share) else max(0, share - each.held)
            if model.since is None or each.since < model.since:
                older += theirs
            else:
                younger += theirs
        most = usable if model.needs_more_than(share) else max(0, share - model.held)
        within = max(0, min(usable - older, most))
        beyond = max(0, usable - within - older - younger)
        return Room(within + beyond + kept, kept)


class SlotsOfModel:
    """The slots of a shared engine as one of its models may use them."""

    shared = True

    def __init__(self, slots: SharedSlots, name: str):
        self._slots = slots
        self._name = name

    def ask(self) -> Room:
        return self._slots.ask(self._name)

    def settle(self, *, took: bool, more: bool) -> None:
        self._slots.settle(self._name, took=took, more=more)
