"""Models that share an engine's slots: even parts, no slot promised twice, nobody starves."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable

import pytest

from worker.shared_slots import SharedSlots

SLOTS = 32


class Shop:
    """Models with items that wait, as the store has them, and those that run.

    What a model does when it is woken is what its turn does: it asks, takes what fits, and says
    whether more waits.
    """

    def __init__(self, models: str, slots: int = SLOTS, kept: int = 0, seed: int = 0):
        self.woken: list[str] = []
        self.slots = SharedSlots(models, slots, kept, self.woken.append)
        self.total, self.kept = slots, kept
        self.waiting: dict[str, list[int]] = {name: [] for name in models}
        self.running: list[tuple[str, int]] = []
        self.ended: Counter[str] = Counter()
        self.most_exchanges = 0
        self.chance = random.Random(seed)

    def submit(self, name: str, count: int, n: int = 1) -> None:
        self.waiting[name] += [n] * count
        self.woken.append(name)
        self.settle()

    def used(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for name, n in self.running:
            found[name] += n
        return found

    def settle(self) -> None:
        """All that are woken have their turns, until nobody is."""
        for exchanges in range(10_000):
            if not self.woken:
                self.most_exchanges = max(self.most_exchanges, exchanges)
                return
            name = self.woken.pop(self.chance.randrange(len(self.woken)))
            self.exchange(name)
        raise AssertionError("they wake each other without end")

    def exchange(self, name: str) -> None:
        room = self.slots.ask(name)
        batch, took = room.slots - room.kept, False
        while self.waiting[name] and batch > 0:
            n = self.waiting[name][0]
            # As the store has it: one that would not fit beside the kept slots may use those, too.
            if n > (batch + room.kept if n > self.total - self.kept else batch):
                break
            batch, took = batch - n, True
            self.slots.take(name, self.waiting[name].pop(0))
            self.running.append((name, n))
        assert sum(self.used().values()) <= self.total, "a slot is promised once"
        self.slots.settle(name, took=took, more=bool(self.waiting[name]))

    def end(self, chosen: Iterable[int] | None = None) -> None:
        """Some running items end; their models come back for more, as they hand in results."""
        places = sorted(chosen if chosen is not None else [0], reverse=True)
        counts: Counter[str] = Counter()
        for place in places:
            name, n = self.running.pop(place)
            counts[name] += n
            self.ended[name] += 1
        self.woken += [*counts, *self.slots.free(counts)]
        self.settle()


def test_a_model_alone_takes_all() -> None:
    shop = Shop("ab")
    shop.submit("a", 100)
    assert shop.used() == {"a": SLOTS}


@pytest.mark.parametrize(
    ("models", "share"), [("ab", 16), ("abc", 10), ("abcdefgh", 4), ("abcdefghijklm", 2)]
)
def test_models_that_want_slots_come_to_even_parts_as_items_end(models: str, share: int) -> None:
    shop = Shop(models)
    for name in models:
        shop.submit(name, 1000)
    assert shop.used() == {"a": SLOTS}, "what runs is not ended"
    for _ in range(200):
        shop.end([shop.chance.randrange(len(shop.running))])
        assert sum(shop.used().values()) == SLOTS, "no slot is idle while items wait"
    assert all(share <= shop.used()[name] for name in models), shop.used()


def test_the_first_slots_that_become_free_go_to_who_has_fewest() -> None:
    shop = Shop("ab")
    shop.submit("a", 100)
    shop.submit("b", 100)
    for count in range(1, 17):
        shop.end([next(i for i, (name, _) in enumerate(shop.running) if name == "a")])
        assert shop.used() == {"a": SLOTS - count, "b": count}
    shop.end([next(i for i, (name, _) in enumerate(shop.running) if name == "a")])
    assert shop.used() == {"a": 16, "b": 16}


def test_what_a_model_does_not_want_goes_to_the_others() -> None:
    shop = Shop("abc")
    shop.submit("a", 100)
    shop.submit("b", 3)
    shop.submit("c", 100)
    for _ in range(40):
        shop.end([next(i for i, (name, _) in enumerate(shop.running) if name != "b")])
        assert sum(shop.used().values()) == SLOTS
    assert shop.used()["b"] == 3 and min(shop.used().values()) == 3, shop.used()
    shop.end([i for i, (name, _) in enumerate(shop.running) if name == "b"])
    assert shop.used()["a"] + shop.used()["c"] == SLOTS


def test_more_models_than_slots_have_their_turns() -> None:
    models = "abcdefghij"
    shop = Shop(models, slots=3)
    for name in models:
        shop.submit(name, 100)
    for _ in range(300):
        shop.end()
    assert min(shop.ended[name] for name in models) >= 25, shop.ended


@pytest.mark.parametrize("kept", [0, 4])
@pytest.mark.parametrize("n", [9, 17, 28, 32])
def test_an_item_that_needs_more_than_a_share_gets_it_in_the_end(n: int, kept: int) -> None:
    shop = Shop("ab", kept=kept)
    shop.submit("a", 1000)
    shop.submit("b", 5, n=n)
    for _ in range(500):
        shop.end([shop.chance.randrange(len(shop.running))])
    assert shop.ended["b"] == 5 and shop.ended["a"] > 100, shop.ended


def test_two_models_with_large_items_take_turns() -> None:
    shop = Shop("abc")
    shop.submit("a", 20, n=32)
    shop.submit("b", 20, n=31)
    shop.submit("c", 200)
    for _ in range(120):
        shop.end()
    assert min(shop.ended[name] for name in "ab") >= 4 and shop.ended["c"] >= 60, shop.ended


def test_kept_slots_are_for_interactive_jobs_of_all_models() -> None:
    shop = Shop("ab", kept=4)
    shop.submit("a", 100)
    shop.submit("b", 100)
    for _ in range(100):
        shop.end()
        assert sum(shop.used().values()) == SLOTS - 4
    assert shop.used() == {"a": 14, "b": 14}
    room = shop.slots.ask("b")
    assert (room.slots, room.kept) == (4, 4)


def test_where_all_slots_are_kept_nobody_waits_for_them_in_vain() -> None:
    shop = Shop("ab", slots=8, kept=8)
    shop.submit("a", 10)
    shop.submit("b", 10)
    assert not shop.running
    assert shop.slots.ask("a").slots == 8, "an interactive job has them"


def test_a_promise_is_kept_until_it_is_settled() -> None:
    shop = Shop("ab")
    assert shop.slots.ask("a").slots == SLOTS
    assert shop.slots.ask("b").slots == 0, "no reply came yet for a"
    shop.slots.settle("b", took=False, more=True)
    assert shop.woken == []
    shop.slots.take("a", 8)
    assert shop.slots.ask("b").slots == 0
    shop.slots.settle("b", took=False, more=True)
    shop.slots.settle("a", took=True, more=False)
    assert shop.woken == ["b"]
    assert shop.slots.ask("b").slots == SLOTS - 8


def test_what_a_repeated_question_left_over_is_free_for_its_model_too() -> None:
    """Items of an exchange are read with the next one where Redis fails in between; meanwhile all
    slots are promised, so the store is asked to fill none."""
    shop = Shop("ab")
    assert shop.slots.ask("a").slots == SLOTS
    assert shop.slots.ask("a").slots == 0
    shop.slots.take("a", 3)
    shop.slots.settle("a", took=False, more=True)
    assert shop.woken == ["a"], "more waits, and 29 slots are free"
    assert shop.slots.ask("a").slots == SLOTS - 3
    shop.slots.settle("a", took=False, more=True)
    assert shop.woken == ["a"], "once"


@pytest.mark.parametrize("seed", range(25))
def test_in_a_random_walk_every_item_is_run_and_no_slot_is_promised_twice(seed: int) -> None:
    chance = random.Random(seed)
    models = "abcdefgh"[: chance.randint(1, 8)]
    slots = chance.choice([1, 2, 5, 8, 32])
    kept = chance.choice([0, 0, slots // 8, slots - 1])
    shop = Shop(models, slots, kept, seed)
    submitted: Counter[str] = Counter()
    for _ in range(300):
        if chance.random() < 0.2:
            name, count = chance.choice(models), chance.randint(1, 20)
            submitted[name] += count
            shop.submit(name, count, chance.randint(1, slots) if chance.random() < 0.4 else 1)
        elif shop.running:
            shop.end(chance.sample(range(len(shop.running)), chance.randint(1, len(shop.running))))
    for _ in range(20_000):
        if not shop.running:
            break
        shop.end()
    assert shop.ended == submitted, {name: shop.waiting[name] for name in models}
    assert shop.most_exchanges < 60 * len(models), "wakes are few"
