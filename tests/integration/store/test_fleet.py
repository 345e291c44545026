"""Workers and model cards."""

from __future__ import annotations

import pytest

from common.errors import ConfigError, NotFound
from tests.support.store import Mill, card, done


def test_a_model_nobody_ever_served_is_not_found_and_the_known_ones_are_named(mill: Mill) -> None:
    with pytest.raises(NotFound, match="'x' was ever served here; known: m") as caught:
        mill.fleet.model("x")
    assert caught.value.code == "model_not_found"


def test_cards_outlive_their_workers(mill: Mill) -> None:
    worker = mill.worker()
    worker.release()
    assert mill.fleet.workers() == []
    assert mill.fleet.model("m") == card()


def test_live_workers_are_listed_with_their_room(mill: Mill) -> None:
    worker = mill.worker(slots=8)
    mill.submit(3)
    worker.exchange([], 8)
    found = mill.fleet.workers()
    assert [(w.id, w.slots, w.room, w.held) for w in found] == [(worker.id, 8, 5, 3)]


def test_other_weights_under_a_served_name_are_refused_while_it_is_served(mill: Mill) -> None:
    other = card().model_copy(update={"digest": "other"})
    worker = mill.worker()
    with pytest.raises(ConfigError, match="PROMPTMILL_SERVED_NAME"):
        mill.fleet.publish(other, b"")
    worker.release()
    mill.fleet.publish(other, b"tokenizer")
    assert mill.fleet.model("m").digest == "other"
    assert mill.fleet.tokenizer("other") == b"tokenizer"


@pytest.mark.parametrize("end", ["cancel", "delete"])
def test_a_paused_job_keeps_other_weights_from_its_name_as_a_waiting_one_does(
    mill: Mill, end: str
) -> None:
    other = card().model_copy(update={"digest": "other"})
    worker, job = mill.worker(), mill.submit(3)
    worker.exchange([], 1)
    mill.store.edit(job, "paused", 1)
    worker.release()
    with pytest.raises(ConfigError, match="paused"):
        mill.fleet.publish(other, b"")
    mill.fleet.publish(card(), b"")
    getattr(mill.store, end)(job)
    mill.fleet.publish(other, b"")
    assert mill.fleet.model("m").digest == "other"


def test_what_a_dead_worker_held_keeps_other_weights_from_its_name(mill: Mill) -> None:
    """Its lease is over and no tick has given its items to others yet."""
    worker = mill.worker(lease=0.001)
    mill.submit(1)
    worker.exchange([], 1)
    while mill.fleet.workers():
        pass
    with pytest.raises(ConfigError, match="cancel the jobs"):
        mill.fleet.publish(card().model_copy(update={"digest": "other"}), b"")


def test_a_finished_job_keeps_nobody_from_its_models_name(mill: Mill) -> None:
    worker, job = mill.worker(), mill.submit(2)
    worker.exchange(done(worker.exchange([], 2)), 0)
    assert mill.store.job(job).status == "completed"
    worker.release()
    mill.fleet.publish(card().model_copy(update={"digest": "other"}), b"")


def test_other_weights_under_a_name_are_refused_while_jobs_wait_for_it(mill: Mill) -> None:
    other = card().model_copy(update={"digest": "other"})
    mill.worker().release()
    job = mill.submit(3)
    with pytest.raises(ConfigError, match="cancel the jobs"):
        mill.fleet.publish(other, b"")
    assert mill.fleet.model("m") == card()
    mill.store.cancel(job)
    mill.fleet.publish(other, b"")
    assert mill.fleet.model("m").digest == "other"


def test_a_card_has_the_slots_of_the_largest_live_worker(mill: Mill) -> None:
    large = mill.worker(slots=32)
    mill.fleet.publish(card(slots=8), b"")
    assert mill.fleet.model("m").slots == 32
    large.release()
    mill.fleet.publish(card(slots=8), b"")
    assert mill.fleet.model("m").slots == 8
