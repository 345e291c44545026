"""Poison: what was in flight when a worker died reruns in smaller cohorts until the guilty item
stands alone."""

from __future__ import annotations

from typing import Any

import pytest

from common.errors import ConfigError
from common.store import keys
from common.store.incarnation import Exchanged, Result
from common.store.packing import pack
from common.types import ItemState
from tests.support.store import Mill, card, done, taken


def indices(exchanged: Exchanged) -> list[int]:
    return [index for _, index, _ in taken(exchanged)]


def test_suspects_rerun_at_most_the_root_of_the_slots_together_and_with_nobody_else(
    mill: Mill,
) -> None:
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


def test_a_third_attempt_runs_alone(mill: Mill) -> None:
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


def test_the_guilty_item_fails_and_all_its_neighbours_succeed(mill: Mill) -> None:
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
    error = mill.store.rows(job_id, guilty, 1)[0]["error"]
    assert error and error["code"] == "worker_lost"


def test_a_busy_worker_lets_what_it_holds_finish_before_it_sees_to_suspects(mill: Mill) -> None:
    mill.submit(100)
    dead, first, second = (mill.worker(slots=4) for _ in range(3))
    dead.exchange([], 4)
    held, others = first.exchange([], 4), second.exchange([], 4)
    mill.lose(dead)
    mill.tick()
    assert first.exchange(done(held)[:2], 2).runs == []
    assert indices(second.exchange(done(others), 4)) == [0, 1], "who is idle first goes first"
    assert indices(first.exchange(done(held)[2:], 4)) == [12, 13, 14, 15], (
        "and the others go on with the rest"
    )


def test_a_busy_worker_that_has_waited_takes_the_suspects_when_it_is_idle(mill: Mill) -> None:
    mill.submit(100)
    dead, first, second = (mill.worker(slots=4) for _ in range(3))
    dead.exchange([], 4)
    held, others = first.exchange([], 4), second.exchange([], 4)
    mill.lose(dead)
    mill.tick()
    assert first.exchange(done(held)[:2], 2).runs == []
    assert indices(second.exchange(done(others)[:2], 2)) == [12, 13], "only one waits"
    assert indices(first.exchange(done(held)[2:], 4)) == [0, 1]


def crash(mill: Mill, *jobs: str) -> None:
    """A worker dies with all that waits of these jobs, and of no others."""
    dead = mill.worker(slots=128)
    answer = dead.exchange([], 128)
    assert {job_id for job_id, _, _ in taken(answer)} == set(jobs)
    mill.lose(dead)
    mill.tick()


def singles(mill: Mill, count: int, **fields: Any) -> list[str]:
    return [mill.submit(1, **fields) for _ in range(count)]


def test_suspects_of_many_jobs_and_tenants_run_in_cohorts_on_one_worker_and_the_others_go_on(
    mill: Mill,
) -> None:
    jobs = singles(mill, 14) + singles(mill, 2, tenant="u")
    crash(mill, *jobs)
    rest = mill.submit(100)
    workers = [mill.worker(slots=16) for _ in range(4)]
    answers = [worker.exchange([], 16) for worker in workers]
    assert [len(taken(answer)) for answer in answers] == [4, 16, 16, 16]
    seen, answer = [], answers[0]
    while taken(answer) and taken(answer)[0][0] != rest:
        assert {attempt for _, _, attempt in taken(answer)} == {2} and len(taken(answer)) == 4
        seen += [job_id for job_id, _, _ in taken(answer)]
        answer = workers[0].exchange(done(answer), 16)
    assert sorted(seen) == sorted(jobs)


def test_a_quarter_of_the_workers_sees_to_suspects(mill: Mill) -> None:
    crash(mill, *singles(mill, 64))
    mill.submit(200)
    workers = [mill.worker(slots=16) for _ in range(9)]
    answers = [worker.exchange([], 16) for worker in workers]
    assert [len(taken(answer)) for answer in answers] == [4, 4, 16, 16, 16, 16, 16, 16, 16]


def test_workers_of_other_models_do_not_count(mill: Mill) -> None:
    crash(mill, *singles(mill, 16))
    mill.submit(100)
    for worker in [mill.worker() for _ in range(8)]:
        mill.client.hset(keys.worker(worker.id), "model", "other")
    answers = [worker.exchange([], 16) for worker in (mill.worker(slots=16), mill.worker(slots=16))]
    assert [len(taken(answer)) for answer in answers] == [4, 16]


def test_second_attempts_join_a_cohort_as_others_end(mill: Mill) -> None:
    crash(mill, *singles(mill, 16))
    worker = mill.worker(slots=16)
    first = worker.exchange([], 16)
    more = worker.exchange(done(first)[:3], 15)
    assert len(taken(more)) == 3 and {attempt for _, _, attempt in taken(more)} == {2}
    assert worker.exchange([], 12).runs == []


def test_suspects_of_interactive_jobs_go_first(mill: Mill) -> None:
    jobs, chats = singles(mill, 4), singles(mill, 2, interactive=1)
    crash(mill, *jobs, *chats)
    worker = mill.worker(slots=4)
    assert sorted(job_id for job_id, _, _ in taken(worker.exchange([], 4))) == sorted(chats)


def test_an_only_worker_gives_the_rest_its_turn_for_as_long_as_it_saw_to_suspects(
    mill: Mill,
) -> None:
    crash(mill, *singles(mill, 16))
    chat = mill.submit(1, interactive=1)
    worker = mill.worker(slots=16)
    cohort = worker.exchange([], 16)
    assert {attempt for _, _, attempt in taken(cohort)} == {2}
    mill.client.hset(keys.worker(worker.id), "cohort", f"second {mill.store.now() - 3000}")
    assert worker.exchange(done(cohort)[:1], 13).runs == [], "nothing joins any more"
    answer = worker.exchange(done(cohort)[1:], 16)
    assert taken(answer) == [(chat, 0, 1)]
    fresh = mill.submit(40)
    answer = worker.exchange(done(answer), 16)
    assert {job_id for job_id, _, _ in taken(answer)} == {fresh}
    mill.client.hset(keys.worker(worker.id), "cohort", f"rests {mill.store.now()}")
    assert worker.exchange(done(answer)[:8], 8).runs == []
    assert {attempt for _, _, attempt in taken(worker.exchange(done(answer)[8:], 16))} == {2}


def test_suspects_that_fit_on_no_slot_of_a_worker_do_not_keep_it(mill: Mill) -> None:
    small = mill.worker(slots=4)
    crash(mill, mill.submit(2, n_max=8))
    rest = mill.submit(20)
    answer = small.exchange([], 4)
    assert {job_id for job_id, _, _ in taken(answer)} == {rest} and len(taken(answer)) == 4
    assert len(taken(small.exchange(done(answer)[:2], 2))) == 2
    assert len(taken(mill.worker(slots=16).exchange([], 16))) == 1


def test_suspects_of_a_paused_job_wait_with_it(mill: Mill) -> None:
    job_id = mill.submit(1)
    crash(mill, job_id)
    mill.store.edit(job_id, "paused", 1)
    worker = mill.worker()
    assert worker.exchange([], 8).runs == []
    assert mill.store.edit(job_id, "paused", 0) == 1, "rings"
    assert taken(worker.exchange([], 8)) == [(job_id, 0, 2)]


def test_suspects_of_a_job_that_is_cancelled_or_deleted_are_listed_no_more(mill: Mill) -> None:
    cancelled, deleted = singles(mill, 2)
    crash(mill, cancelled, deleted)
    mill.store.cancel(cancelled)
    mill.store.delete(deleted)
    assert not mill.client.exists(keys.suspects("m"))


def test_suspects_alone_keep_their_model_from_being_replaced(mill: Mill) -> None:
    crash(mill, *singles(mill, 1))
    other = card().model_copy(update={"digest": "other"})
    with pytest.raises(ConfigError):
        mill.fleet.publish(other, b"")


def test_losing_an_item_that_had_got_further_costs_no_attempt(mill: Mill) -> None:
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
    assert worker.progress(job_id, 0).tokens == []


def test_progress_is_what_the_last_holder_kept(mill: Mill) -> None:
    job_id, dead = mill.submit(1), mill.worker()
    dead.exchange([], 1)
    slot = f"{job_id} 0"
    dead.checkpoint({slot: [(0, [1, 2]), (0, [9])]}, whole=True, first=[(job_id, 0)])
    dead.checkpoint({slot: [(2, [3]), (1, [])]}, whole=False, first=[])
    mill.lose(dead)
    mill.tick()
    worker = mill.worker()
    assert worker.exchange([], 1).runs[0].resumed
    assert worker.progress(job_id, 0).tokens == [[1, 2, 3], [9]]


def test_a_lost_item_of_which_clients_have_tokens_goes_on_from_there(mill: Mill) -> None:
    job_id, dead = mill.submit(2), mill.worker()
    dead.exchange([], 2)
    dead.stream([(job_id, 1, 1, '[[0,0,[["a",null,0,4]]]]')])
    mill.lose(dead)
    mill.tick()
    worker = mill.worker()
    answer = worker.exchange([], 2)
    found = [(run.first, run.count, run.attempt, run.resumed) for run in answer.runs]
    worker.exchange(done(answer), 0)
    assert found == [(0, 1, 2, False), (1, 1, 2, True)], "an attempt is charged all the same"


def test_an_item_that_is_lost_for_ever_fails_in_the_end_however_far_it_gets(mill: Mill) -> None:
    job_id = mill.submit(1)
    for _ in range(30):
        worker = mill.worker()
        if not worker.exchange([], 1).runs:
            break
        worker.checkpoint({f"{job_id} 0": [(0, [1])]}, whole=True, first=[(job_id, 0)])
        mill.lose(worker)
        mill.tick()
    assert mill.counts(job_id) == {"failed": 1}


def test_a_checkpoint_of_a_lost_worker_is_not_kept(mill: Mill) -> None:
    job_id, dead = mill.submit(1), mill.worker()
    dead.exchange([], 1)
    mill.lose(dead)
    mill.tick()
    dead.checkpoint({f"{job_id} 0": [(0, [1])]}, whole=True, first=[(job_id, 0)])
    assert not mill.client.exists(f"pm:checkpoint:{dead.id}")


def test_what_a_worker_handed_back_and_took_again_goes_on_from_there(mill: Mill) -> None:
    job_id, worker = mill.submit(1), mill.worker()
    worker.exchange([], 1)
    worker.checkpoint({f"{job_id} 0": [(0, [4])]}, whole=True, first=[(job_id, 0)])
    back = Result(job_id, 0, 1, ItemState.PENDING, 0, 0, pack([[4, 5]]))
    assert worker.exchange([back], 1).runs[0].resumed
    worker.release()
    other = mill.worker()
    assert other.exchange([], 1).runs[0].resumed
    assert other.progress(job_id, 0).tokens == [[4, 5]]


def test_what_is_handed_back_goes_on_from_there_uncharged(mill: Mill) -> None:
    job_id, worker = mill.submit(2), mill.worker()
    worker.exchange([], 2)
    worker.exchange([Result(job_id, 0, 1, ItemState.PENDING, 0, 0, pack([[4, 5]]))], 0)
    assert mill.counts(job_id) == {"pending": 1, "running": 1}
    answer = worker.exchange([], 1)
    assert taken(answer) == [(job_id, 0, 1)] and answer.runs[0].resumed
    assert worker.progress(job_id, 0).tokens == [[4, 5]]
