"""Who is woken by new work: a worker for each item, the least loaded first; who does not listen is
rung instead."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from common.store import keys
from common.store.incarnation import Incarnation
from tests.support.store import Mill, done, taken


class Ears:
    """Listens on the channels of workers, as their heartbeats do."""

    def __init__(self, mill: Mill, workers: list[Incarnation]):
        self._names = {keys.work(worker.id).encode(): worker for worker in workers}
        self._pubsub = mill.client.pubsub()
        self._pubsub.subscribe(*self._names)
        for _ in workers:
            self._pubsub.get_message(timeout=5)

    def woken(self) -> list[Incarnation]:
        """Who was woken since the last call, in order."""
        found = []
        while message := self._pubsub.get_message(timeout=0.02):
            found.append(self._names[message["channel"]])
        return found

    def close(self) -> None:
        self._pubsub.close()


@contextmanager
def listening(mill: Mill, *workers: Incarnation) -> Iterator[Ears]:
    ears = Ears(mill, list(workers))
    yield ears
    ears.close()


def forget_the_moment(mill: Mill) -> None:
    """Let the time be over in which others leave work to those that were woken."""
    for worker, at in mill.client.zrange("pm:woken:m", 0, -1, withscores=True):
        mill.client.zadd("pm:woken:m", {worker: at - 1000})


def tick(mill: Mill) -> dict[str, int]:
    mill.client.hset("pm:tick", "at", mill.store.now() - 1000)
    return mill.fleet.tick(5.0, 3).rings


def test_one_item_wakes_one_worker_and_an_idle_one_before_a_busy_one(mill: Mill) -> None:
    busy, idle = mill.worker(name="a"), mill.worker(name="b")
    mill.submit(1)
    busy.exchange([], 8)
    with listening(mill, busy, idle) as ears:
        mill.submit(1)
        assert ears.woken() == [idle]


def test_items_that_come_together_wake_different_workers_and_then_the_least_loaded(
    mill: Mill,
) -> None:
    a, b, c = (mill.worker(name=name) for name in "abc")
    for worker, items in ((a, 4), (c, 2)):
        mill.submit(items)
        assert len(taken(worker.exchange([], 8))) == items
    with listening(mill, a, b, c) as ears:
        for _ in range(3):
            mill.submit(1)
        assert ears.woken() == [b, b, b], "woken, it is still the least loaded"
        assert len(taken(b.exchange([], 8))) == 3
        mill.submit(1)
        assert ears.woken() == [c]
        others = [mill.worker(name=name) for name in "xy"]
    with listening(mill, a, b, c, *others) as ears:
        mill.submit(1)
        mill.submit(1)
        assert ears.woken() == others, "idle ones first, one each"


def test_a_large_job_wakes_all_workers_with_room_and_no_other(mill: Mill) -> None:
    full, *others = workers = [mill.worker(slots=4) for _ in range(5)]
    mill.submit(4)
    assert len(taken(full.exchange([], 4))) == 4
    with listening(mill, *workers) as ears:
        mill.submit(5000)
        assert {worker.id for worker in ears.woken()} == {worker.id for worker in others}


def test_a_worker_is_woken_again_when_it_has_room_again_and_never_after_it_left(mill: Mill) -> None:
    worker = mill.worker(slots=1)
    with listening(mill, worker) as ears:
        mill.submit(1)
        answer = worker.exchange([], 1)
        ears.woken()
        mill.submit(1)
        assert ears.woken() == []
        answer = worker.exchange(done(answer), 1)
        worker.exchange(done(answer), 1)
        mill.submit(1)
        assert ears.woken() == [worker]
        worker.release()
        mill.submit(1)
        assert ears.woken() == []
    assert not mill.client.exists("pm:room:m", "pm:woken:m")


def test_a_worker_that_does_not_listen_is_rung(mill: Mill) -> None:
    deaf, hears = mill.worker(name="a"), mill.worker(name="b")
    with listening(mill, hears) as ears:
        mill.submit(5)
        assert ears.woken() == [hears]
        assert tick(mill) == {"m": 2}, "what waits by the next tick is rung for, listened to or not"
    assert deaf.exchange([], 8).runs


def test_work_whose_wake_was_lost_wakes_somebody_else_at_the_tick(mill: Mill) -> None:
    frozen, other = mill.worker(name="a"), mill.worker(name="b")
    with listening(mill, frozen, other) as ears:
        mill.submit(1)
        assert ears.woken() == [frozen]
        assert tick(mill) == {"m": 1}
        assert ears.woken() == [other]


def test_paused_work_wakes_nobody_until_it_is_resumed(mill: Mill) -> None:
    worker = mill.worker()
    job_id = mill.submit(3)
    mill.store.edit(job_id, "paused", 1)
    with listening(mill, worker) as ears:
        mill.store.edit(job_id, "priority", 5)
        tick(mill)
        assert ears.woken() == []
        mill.store.edit(job_id, "paused", 0)
        assert ears.woken() == [worker]


def test_what_was_submitted_for_an_idle_worker_is_not_taken_by_a_busy_one_that_comes_first(
    mill: Mill,
) -> None:
    busy, idle, frozen = (mill.worker(name=name) for name in "abc")
    mill.submit(1)
    busy.exchange([], 8)
    with listening(mill, busy, idle, frozen):
        job_id = mill.submit(1)
        assert busy.exchange([], 7).runs == []
        assert taken(idle.exchange([], 8)) == [(job_id, 0, 1)]
        late = mill.submit(1)
        assert busy.exchange([], 7).runs == []
        forget_the_moment(mill)
        assert taken(busy.exchange([], 7)) == [(late, 0, 1)], "who does not come is not waited for"


def test_woken_workers_share_what_is_not_enough_for_all_of_them(mill: Mill) -> None:
    workers = [mill.worker() for _ in range(4)]
    with listening(mill, *workers):
        mill.submit(10)
        assert [len(taken(worker.exchange([], 8))) for worker in workers] == [3, 3, 2, 2]
        mill.submit(300)
        assert [len(taken(worker.exchange([], 5))) for worker in workers] == [5, 5, 5, 5]


def test_a_worker_of_an_older_release_is_listed_by_the_tick(mill: Mill) -> None:
    worker = mill.worker()
    mill.client.delete("pm:room:m")  # which an older release knows nothing of
    mill.submit(2)
    assert tick(mill) == {"m": 1}
    assert worker.exchange([], 8).runs


def test_a_tick_looks_at_a_bounded_number_of_models_and_at_all_of_them_in_the_end(
    mill: Mill,
) -> None:
    models = [f"m{i}" for i in range(300)]
    mill.client.sadd(keys.MODELS, *models)
    for model in models:
        mill.submit(1, model=model)
        mill.client.zadd(keys.room(model), {f"worker-{model}": 0})
    rung = [set(tick(mill)) for _ in range(10)]
    assert set().union(*rung) == set(models)
    assert max(map(len, rung)) < 200
