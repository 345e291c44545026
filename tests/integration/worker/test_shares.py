"""Models of one process over a real store, with an engine whose items end when the test says so:
which of them gets each slot that becomes free."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.lib.jobs import job_fields
from common.rings import RingSender
from common.settings import Settings
from common.store.connection import connect
from common.store.fleet import Fleet
from common.store.jobs import JobStore, new_job_id
from tests.support.adapters import adapter_folder
from tests.support.manual_engine import ManualEngine
from tests.support.waiting import wait_until
from worker.adapters import Adapter, card_with
from worker.models import OpenedModel, open_model
from worker.served_models import ServedModels

SLOTS = 4
LAW = "echo:law"


class Mill:
    """The process, and a queue for each of its models."""

    def __init__(self, url: str, folder: Path):
        self.url = url
        self.engine = ManualEngine(SLOTS)
        echo = open_model("echo", slots=SLOTS)
        adapter = Adapter.read("law", adapter_folder(folder), None)
        opened = OpenedModel(self.engine, echo.card, echo.tokenizer, (adapter,))
        settings = Settings.load(redis_url=url, model="echo", lease=60, interactive_slots=0)
        self.served = ServedModels(connect(url), settings, opened, RingSender(url))
        self._store = JobStore(connect(url))
        self._digests = {
            "echo": echo.card.digest,
            LAW: card_with(echo.card, adapter).digest,
        }
        self.served.start()
        self.served.join()

    def submit(self, model: str, items: int, n: int = 1) -> int:
        """Queue items that take `n` slots each; how many rings are wanted for them."""
        stage = self._store.stage()
        for _ in range(items):
            stage.add({"prompt": "a", "params": {"n": n, "temperature": 1.0}})
        stage.close()
        spec = {"params": {"max_tokens": 10}}
        fields = job_fields(model, self._digests[model], items, spec, cost=20, n_max=n)
        return self._store.attach(stage, fields, job_id=new_job_id()).rings

    def begin(self, model: str, items: int, n: int = 1) -> None:
        self.submit(model, items, n)
        self.served.ring(model)

    def wait_until_asked(self, model: str) -> None:
        """Wait until the model's turn has asked the store for work."""
        server = next(each for each in self.served if each.card.id == model)
        wait_until(lambda: server.incarnation._call > 0)

    def free_slots(self) -> dict[str, int]:
        """By model, as its worker told at a heartbeat."""
        for server in self.served:
            server.heartbeat()
        return {each.model: each.room for each in Fleet(connect(self.url)).workers()}

    def end(self, adapter: str | None) -> None:
        """End an item, and wait until its slot is given to another."""
        before = set(self.engine.inside)
        self.engine.end_one(adapter)
        wait_until(lambda: set(self.engine.inside) - before, self.engine.held, 10)


@pytest.fixture
def mill(redis_url: str, tmp_path: Path) -> Iterator[Mill]:
    made = Mill(redis_url, tmp_path)
    yield made
    made.served.stop(grace=0)


def test_each_slot_goes_to_the_model_that_has_fewer(mill: Mill) -> None:
    mill.begin("echo", 40)
    mill.engine.wait_for(None, None, None, None)
    mill.begin(LAW, 40)
    mill.wait_until_asked(LAW)
    mill.end(None)
    mill.engine.wait_for(None, None, None, "law")
    mill.end(None)
    mill.engine.wait_for(None, None, "law", "law")
    for adapter in (None, "law", "law", None, None, "law"):
        mill.end(adapter)
        mill.engine.wait_for(None, None, "law", "law")


def end_and_see(mill: Mill, left: int) -> None:
    """End an item of the model without an adapter: it has so many left then, and gets no other;
    with none left the item that needs all slots runs."""
    mill.engine.end_one(None)
    mill.engine.wait_for(*[None] * left if left else ["law"])
    time.sleep(0.3)
    assert len(mill.engine.held()) == max(1, left), "the slots are kept for the large item"


def test_an_item_larger_than_the_share_is_waited_for_and_then_the_other_has_its_share(
    mill: Mill,
) -> None:
    mill.begin("echo", 40)
    mill.engine.wait_for(None, None, None, None)
    mill.begin(LAW, 2, n=SLOTS)
    mill.wait_until_asked(LAW)
    for left in (3, 2):
        end_and_see(mill, left)
    mill.end(None)  # it waits longer, and has less than its share
    for left in (1, 0):
        end_and_see(mill, left)
    mill.engine.end_one("law")
    mill.engine.wait_for(None, None)
    for left in (1, 0):
        end_and_see(mill, left)
    mill.engine.end_one("law")
    mill.engine.wait_for(None, None, None, None)


def test_a_model_without_room_hears_of_work(mill: Mill) -> None:
    mill.begin("echo", 40)
    mill.engine.wait_for(None, None, None, None)
    mill.served.ring(LAW)  # there is none yet
    mill.wait_until_asked(LAW)
    assert mill.submit(LAW, 1) == 1, "its worker is to be rung"


def test_after_a_lost_lease_a_slot_is_given_again_when_its_item_has_left(mill: Mill) -> None:
    mill.begin("echo", 40)
    mill.engine.wait_for(None, None, None, None)
    base = next(iter(mill.served))
    first = base.incarnation.id
    base.incarnation.release()
    base.wake()
    wait_until(lambda: base.incarnation.id != first)
    base.wake()
    wait_until(lambda: len(mill.engine.inside) == SLOTS and base.incarnation._held)
    assert mill.engine.most == SLOTS


def test_each_model_tells_which_slots_of_all_are_free_also_while_it_has_no_work(mill: Mill) -> None:
    mill.begin("echo", 3)
    mill.engine.wait_for(None, None, None)
    mill.begin(LAW, 1)
    mill.engine.wait_for(None, None, None, "law")
    assert mill.free_slots() == {"echo": 0, LAW: 0}
    for adapter in (None, None, None, "law"):
        mill.engine.end_one(adapter)
    wait_until(lambda: mill.free_slots() == {"echo": SLOTS, LAW: SLOTS}, mill.free_slots)
    Fleet(connect(mill.url)).drain(next(iter(mill.served)).incarnation.id, True)
    assert mill.free_slots() == {"echo": 0, LAW: SLOTS}, "a drained one takes no more"
