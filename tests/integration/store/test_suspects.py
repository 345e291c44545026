"""Poison: what was in flight when a worker died reruns in smaller cohorts until the guilty item stands alone."""

from __future__ import annotations

from common.fleet import Result
from common.packing import pack
from common.types import ItemState
from tests.integration.store.conftest import done, taken


def indices(exchanged) -> list[int]:
    return [index for _, index, _ in taken(exchanged)]


def test_suspects_rerun_at_most_the_root_of_the_slots_together_and_with_nobody_else(mill):
    mill.submit(40)
    dead = mill.worker(slots=16)
    dead.exchange([], 16)
    mill.lose(dead)
    mill.tick()
    worker = mill.worker(slots=16)
    answer = worker.exchange([], 16)
    assert indices(answer) == [0, 1, 2, 3]
    assert worker.exchange([], 12).runs == [], "nothing joins a cohort"
    answer = worker.exchange(done(answer), 16)
    assert indices(answer) == [4, 5, 6, 7]


def test_a_third_attempt_runs_alone(mill):
    job_id = mill.submit(10)
    for expected in ([0, 1, 2, 3, 4, 5, 6, 7, 8], [0, 1, 2], [3, 4, 5]):
        worker = mill.worker(slots=9)
        assert indices(worker.exchange([], 9)) == expected
        mill.lose(worker)
        mill.tick()
    worker = mill.worker(slots=9)
    seen, answer = [], worker.exchange([], 9)
    while answer.runs:
        seen.append(indices(answer))
        answer = worker.exchange(done(answer), 9)
    assert seen == [[6, 7, 8], [0], [1], [2], [3], [4], [5], [9]]
    assert mill.counts(job_id) == {"succeeded": 10}


def test_the_guilty_item_fails_and_all_its_neighbours_succeed(mill):
    job_id, guilty = mill.submit(60), 17
    for _ in range(100):
        worker = mill.worker(slots=16)
        answer = worker.exchange([], 16)
        while answer.runs and guilty not in indices(answer):
            answer = worker.exchange(done(answer), 16)
        if not answer.runs:
            break
        mill.lose(worker)
        mill.tick()
    assert mill.counts(job_id) == {"failed": 1, "succeeded": 59}
    assert mill.store.rows(job_id, guilty, 1)[0]["error"]["code"] == "worker_lost"


def test_other_workers_go_on_with_the_rest_while_one_sees_to_the_suspects(mill):
    mill.submit(100)
    dead, first, second = (mill.worker(slots=4) for _ in range(3))
    dead.exchange([], 4)
    held = first.exchange([], 4)
    mill.lose(dead)
    mill.tick()
    assert first.exchange(done(held)[:2], 2).runs == [], "it lets what it holds finish first"
    assert indices(second.exchange([], 4)) == [8, 9, 10, 11]
    assert indices(first.exchange(done(held)[2:], 4)) == [0, 1]


def test_losing_an_item_that_had_got_further_costs_no_attempt(mill):
    job_id, dead = mill.submit(3), mill.worker()
    dead.exchange([], 3)
    dead.checkpoint({f"{job_id} 1": [(0, [5, 6])]}, whole=True, first=[(job_id, 1)])
    dead.checkpoint({f"{job_id} 1": [(2, [7])]}, whole=False, first=[])
    mill.lose(dead)
    mill.tick()
    worker = mill.worker(slots=4)
    seen, answer = [], worker.exchange([], 4)
    while answer.runs:
        seen += taken(answer)
        assert [run.resumed for run in answer.runs] == [run.first == 1 for run in answer.runs]
        answer = worker.exchange(done(answer), 4)
    assert sorted(seen) == [(job_id, 0, 2), (job_id, 1, 1), (job_id, 2, 2)]
    assert worker.progress(job_id, 0) == []


def test_progress_is_what_the_last_holder_kept(mill):
    job_id, dead = mill.submit(1), mill.worker()
    dead.exchange([], 1)
    slot = f"{job_id} 0"
    dead.checkpoint({slot: [(0, [1, 2]), (0, [9])]}, whole=True, first=[(job_id, 0)])
    dead.checkpoint({slot: [(2, [3]), (1, [])]}, whole=False, first=[])
    mill.lose(dead)
    mill.tick()
    worker = mill.worker()
    assert worker.exchange([], 1).runs[0].resumed
    assert worker.progress(job_id, 0) == [[1, 2, 3], [9]]


def test_an_item_that_is_lost_for_ever_fails_in_the_end_however_far_it_gets(mill):
    job_id = mill.submit(1)
    for _ in range(30):
        worker = mill.worker()
        if not worker.exchange([], 1).runs:
            break
        worker.checkpoint({f"{job_id} 0": [(0, [1])]}, whole=True, first=[(job_id, 0)])
        mill.lose(worker)
        mill.tick()
    assert mill.counts(job_id) == {"failed": 1}


def test_a_checkpoint_of_a_lost_worker_is_not_kept(mill):
    job_id, dead = mill.submit(1), mill.worker()
    dead.exchange([], 1)
    mill.lose(dead)
    mill.tick()
    dead.checkpoint({f"{job_id} 0": [(0, [1])]}, whole=True, first=[(job_id, 0)])
    assert not mill.client.exists(f"pm:checkpoint:{dead.id}")


def test_what_is_handed_back_goes_on_from_there_uncharged(mill):
    job_id, worker = mill.submit(2), mill.worker()
    worker.exchange([], 2)
    worker.exchange([Result(job_id, 0, 1, ItemState.PENDING, 0, 0, pack([[4, 5]]))], 0)
    assert mill.counts(job_id) == {"pending": 1, "running": 1}
    answer = worker.exchange([], 1)
    assert taken(answer) == [(job_id, 0, 1)] and answer.runs[0].resumed
    assert worker.progress(job_id, 0) == [[4, 5]]
