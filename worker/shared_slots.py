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
    unseen: int = 0  # those of them that it had before it asked last, and the store did not count
    offered: int = 0  # those of the last promise that are not kept for interactive jobs
    since: int | None = None  # its place in the line; None if it waits for none
    refused: int = 0  # slots that were left: too few for what waits
    stuck: bool = False  # it took nothing of them

    @property
    def held(self) -> int:
        return self.taken + self.promised

    @property
    def wants_some(self) -> bool:
        return self.since is not None or self.taken > 0

    def needs_more_than(self, share: int) -> bool:
        """Whether what waits is larger than its share: it then gets all that becomes free."""
        return self.since is not None and self.stuck and not self.taken and self.offered >= share


@dataclass(frozen=True)
class _Free:
    """The slots that are free at a moment."""

    usable: int  # by batch jobs
    kept: int
    share: int  # an even part of all that batch jobs may use, among the models that want some

    def part(self, model: _Model) -> int:
        """What a model that waits may have before those behind it in the line."""
        return self.usable if model.needs_more_than(self.share) else max(0, self.share - model.held)

    def room(self, model: _Model, older: int, younger: int) -> Room:
        """What a model may have: up to its share after those that wait longer for theirs, beyond it
        what all others that wait leave; and for interactive jobs what is kept. `older` and
        `younger` are the parts of those before and behind it."""
        within = max(0, min(self.usable - older, self.part(model)))
        beyond = max(0, self.usable - within - older - younger)
        return Room(within + beyond + self.kept, self.kept)


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
            model.unseen = model.promised
            model.promised += room.slots
            model.offered = room.slots - room.kept
            return room

    def settle(self, name: str, *, took: bool, more: bool) -> None:
        with self._lock:
            model = self._models[name]
            model.refused = max(0, model.promised - model.unseen)
            model.promised = 0
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
        """The models that wait, and may have more slots than were too few for them; those that wait
        longest first."""
        line = sorted(
            (each.since, name) for name, each in self._models.items() if each.since is not None
        )
        free = self._free()
        parts = [free.part(self._models[name]) for _, name in line]
        found, older, younger = [], 0, sum(parts)
        for (_, name), part in zip(line, parts, strict=True):
            model = self._models[name]
            younger -= part
            if free.room(model, older, younger).slots > model.refused:
                found.append(name)
            older += part
        return found

    def _room(self, model: _Model) -> Room:
        """What the model may have now; it is behind all that wait if it does not."""
        free, older, younger = self._free(model), 0, 0
        for each in self._models.values():
            if each is model or each.since is None:
                continue
            if model.since is None or each.since < model.since:
                older += free.part(each)
            else:
                younger += free.part(each)
        return free.room(model, older, younger)

    def _free(self, asking: _Model | None = None) -> _Free:
        """What is free; one that asks wants some, too."""
        models = self._models.values()
        free = max(0, self._slots - sum(each.held for each in models))
        kept = min(free, self._kept)
        wanting = sum(each is asking or each.wants_some for each in models)
        return _Free(free - kept, kept, max(1, (self._slots - self._kept) // max(1, wanting)))


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
