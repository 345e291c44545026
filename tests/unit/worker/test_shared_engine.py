"""One engine behind several models: each gets what is its own, and suspects run apart."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from common.generation import Finished, Request
from common.params import SamplingParams
from tests.support.adapters import adapter_folder
from tests.support.manual_engine import ManualEngine
from tests.support.waiting import wait_until
from worker.adapters import Adapter
from worker.shared_engine import EngineOfModel, SharedEngine
from worker.shared_slots import SharedSlots

SLOTS = 8


class World(SimpleNamespace):
    engine: ManualEngine
    slots: SharedSlots
    base: EngineOfModel
    law: EngineOfModel
    folder: Path


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    engine = ManualEngine(SLOTS)
    slots = SharedSlots(("m", "m:law"), SLOTS, 0, lambda _name: None)
    shared = SharedEngine(engine, slots)
    folder = adapter_folder(tmp_path / "law")
    base = EngineOfModel(shared, "m", None)
    law = EngineOfModel(shared, "m:law", Adapter.read("law", folder, None))
    base.start()
    law.start()
    yield World(engine=engine, slots=slots, base=base, law=law, folder=folder)
    base.stop()
    law.stop()


def request(name: str, *, suspect: bool = False, n: int = 1) -> Request:
    params = SamplingParams(n=n, temperature=1)
    return Request(name, name, [1, 2], params, 0, suspect=suspect)


def collected(engine: EngineOfModel) -> Finished:
    (found,) = engine.collect(10)
    return found


def test_each_model_collects_its_own(world: World) -> None:
    world.base.submit(request("a"))
    world.law.submit(request("b"))
    world.engine.wait_for(None, "law")
    world.engine.end("b")
    assert collected(world.law).id == "b"
    world.engine.end("a")
    assert collected(world.base).id == "a"
    assert world.base.collect(0) == world.law.collect(0) == []


def test_a_poke_wakes_one_model_only(world: World) -> None:
    world.law.poke()
    assert world.law.collect(10) == []
    world.base.submit(request("a"))
    world.engine.wait_for(None)
    world.engine.end("a")
    assert collected(world.base).id == "a"


def test_slots_are_free_again_when_a_request_ends(world: World) -> None:
    room = world.slots.ask("m")
    world.base.submit(request("a", n=5))
    world.slots.settle("m", took=True, more=False)
    assert (room.slots, world.slots.ask("m:law").slots) == (SLOTS, SLOTS - 5)
    world.slots.settle("m:law", took=False, more=False)
    world.engine.wait_for(None)
    world.engine.end("a")
    collected(world.base)
    assert world.slots.ask("m:law").slots == SLOTS


def test_a_suspect_waits_until_no_other_model_is_there_and_none_enters_beside_it(
    world: World,
) -> None:
    world.base.submit(request("a"))
    world.engine.wait_for(None)
    world.law.submit(request("guilty", suspect=True))
    world.base.submit(request("b"))
    world.law.submit(request("c", suspect=True))
    assert list(world.engine.inside) == ["a"]
    world.engine.end("a")
    world.engine.wait_for("law")
    assert list(world.engine.inside) == ["guilty"], "b stands before c"
    world.engine.end("guilty")
    world.engine.wait_for(None)
    world.engine.end("b")
    world.engine.wait_for("law")
    assert list(world.engine.inside) == ["c"]


def test_suspects_of_one_model_run_beside_others_of_it(world: World) -> None:
    world.law.submit(request("a"))
    world.law.submit(request("b", suspect=True))
    world.law.submit(request("c"))
    world.engine.wait_for("law", "law", "law")


def test_one_that_waits_is_cancelled_with_the_tokens_that_it_came_with(world: World) -> None:
    world.base.submit(request("a"))
    waiting = request("b", suspect=True, n=2)
    waiting.resume = [[4, 5], [6]]
    world.law.submit(waiting)
    world.base.submit(request("c"))
    world.law.cancel("b", "expired")
    found = collected(world.law)
    assert found.prompt_tokens == 2, "it is counted as one that the engine ends"
    outputs = found.outputs
    assert [(each.token_ids, each.finish_reason) for each in outputs] == [
        ([4, 5], "expired"),
        ([6], "expired"),
    ]
    world.engine.wait_for(None, None)


def test_one_that_runs_is_cancelled_in_the_engine(world: World) -> None:
    world.law.submit(request("a"))
    world.engine.wait_for("law")
    world.law.cancel("a", "cancelled")
    world.law.cancel("unknown", "cancelled")
    assert collected(world.law).outputs[0].finish_reason == "cancelled"


def test_what_the_engine_does_not_take_fails_alone(world: World) -> None:
    world.engine.refused.add("b")
    world.law.submit(request("b", suspect=True))
    failed = collected(world.law)
    assert failed.error and failed.error[0] == "engine_error" and failed.prompt_tokens == 2
    assert "a bug" not in failed.error[1], "it might quote another user's text"
    world.base.submit(request("a"))
    world.engine.wait_for(None)


def test_an_adapter_whose_files_changed_is_refused_and_the_model_goes_on(world: World) -> None:
    adapter_folder(world.folder, fill=b"\7")
    world.law.submit(request("a"))
    refused = collected(world.law)
    assert refused.error and refused.error[0] == "adapter_changed"
    assert refused.prompt_tokens == 2
    world.base.submit(request("b"))
    world.engine.wait_for(None)


def test_the_engine_stops_with_the_last_of_its_models(world: World) -> None:
    world.base.stop()
    world.law.submit(request("a"))
    world.engine.wait_for("law")
    world.engine.end("a")
    assert collected(world.law).id == "a"
    world.law.stop()
    world.law.stop()
    assert not world.engine._thread.is_alive()


def test_what_stands_behind_one_that_the_engine_does_not_take_enters(world: World) -> None:
    world.base.submit(request("a"))
    world.engine.wait_for(None)
    world.engine.refused.add("guilty")
    world.law.submit(request("guilty", suspect=True))
    world.base.submit(request("b"))
    world.engine.end("a")
    assert collected(world.law).error
    world.engine.wait_for(None)
    assert list(world.engine.inside) == ["b"]


def test_one_that_is_cancelled_while_it_enters_ends(world: World) -> None:
    """Its submit takes a moment, in which its grammar is compiled."""
    world.engine.on_prepare = lambda entering: world.law.cancel(entering.id, "expired")
    world.law.submit(request("a"))
    assert collected(world.law).outputs[0].finish_reason == "expired"


def test_where_results_cannot_be_handed_over_the_process_is_to_end(world: World) -> None:
    world.engine._mail.submit(request("nobody's"))
    world.engine.wait_for(None)
    assert world.base.step_age() == 0
    world.engine.end("nobody's")
    wait_until(lambda: world.base.step_age() == math.inf, limit=10)
    assert world.law.step_age() == math.inf
