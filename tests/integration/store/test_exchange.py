"""Exchange: results are visible once, work is given out once, late writers are refused."""

from __future__ import annotations

import json
from functools import partial

from common.store.upload_stage import CHUNK
from common.types import ItemState
from tests.support.store import Mill, done, taken


def test_every_item_is_given_out_once_and_its_result_is_read_back(mill: Mill) -> None:
    job_id, worker = mill.submit(20), mill.worker(slots=8)
    seen, answer = [], worker.exchange([], 8)
    while answer.runs:
        seen += taken(answer)
        answer = worker.exchange(done(answer), 8)
    assert seen == [(job_id, i, 1) for i in range(20)]
    job = mill.store.job(job_id)
    assert (job.status, job.prompt_tokens, job.completion_tokens) == (
        "completed",
        60,
        100,
    )
    assert [row["outputs"][0]["text"] for row in mill.store.rows(job_id, 0, 20)] == [
        f"r{i}" for i in range(20)
    ]


def test_runs_never_cross_a_chunk_and_say_where_theirs_begins(mill: Mill) -> None:
    mill.submit(2 * CHUNK + 3)
    answer = mill.worker().exchange([], 200)
    assert [(run.first, run.count, run.chunk) for run in answer.runs] == [
        (0, CHUNK, 0),
        (CHUNK, CHUNK, CHUNK),
        (2 * CHUNK, 3, 2 * CHUNK),
    ]


def test_an_exchange_sent_again_answers_the_same_and_changes_nothing(mill: Mill) -> None:
    job_id, worker = mill.submit(10), mill.worker()
    call = partial(
        mill.store.scripts.exchange, incarnation=worker.id, call=1, room=4, kept=0, shared=0
    )
    first, again = call(), call()
    assert first == again
    assert mill.counts(job_id) == {"pending": 6, "running": 4}


def test_a_result_counts_once_even_when_it_is_handed_in_twice(mill: Mill) -> None:
    job_id, worker = mill.submit(1), mill.worker()
    results = done(worker.exchange([], 1))
    assert worker.exchange(results, 0).refused == []
    assert worker.exchange(results, 0).refused == [(job_id, 0)]
    assert mill.counts(job_id) == {"succeeded": 1}
    assert mill.store.finished_after(job_id, 0, 10) == [0]


def test_a_result_of_a_lost_worker_is_refused_and_its_items_go_to_others(mill: Mill) -> None:
    job_id, dead, alive = mill.submit(4), mill.worker(), mill.worker()
    late = done(dead.exchange([], 4))
    mill.lose(dead)
    mill.tick()
    assert mill.counts(job_id) == {"pending": 4}
    assert dead.exchange(late, 4).lost
    seen, again = [], alive.exchange([], 4)
    while again.runs:
        seen += taken(again)
        again = alive.exchange(done(again), 4)
    assert seen == [(job_id, i, 2) for i in range(4)]
    assert mill.counts(job_id) == {"succeeded": 4}


def test_another_incarnation_cannot_hand_in_what_it_does_not_hold(mill: Mill) -> None:
    job_id, owner, thief = mill.submit(2), mill.worker(), mill.worker()
    results = done(owner.exchange([], 2))
    assert thief.exchange(results, 0).refused == [(job_id, 0), (job_id, 1)]
    assert mill.counts(job_id) == {"running": 2}


def test_an_item_whose_workers_died_three_times_fails_and_its_neighbours_do_not(mill: Mill) -> None:
    job_id = mill.submit(2)
    for attempt in (1, 2, 3):
        worker = mill.worker()
        assert taken(worker.exchange([], 1)) == [(job_id, 0, attempt)]
        mill.lose(worker)
        mill.tick(max_attempts=3)
    row = mill.store.rows(job_id, 0, 1)[0]
    assert row["error"]
    assert (row["status"], row["error"]["code"], row["attempts"]) == ("failed", "worker_lost", 3)
    worker = mill.worker()
    worker.exchange(done(worker.exchange([], 8)), 0)
    assert mill.counts(job_id) == {"failed": 1, "succeeded": 1}
    assert mill.store.job(job_id).status == "completed"


def test_a_draining_worker_hands_back_without_charge(mill: Mill) -> None:
    job_id, worker = mill.submit(5), mill.worker()
    worker.exchange([], 3)
    assert worker.release()[0] == 3
    assert mill.counts(job_id) == {"pending": 5}
    answer = mill.worker().exchange([], 5)
    assert sorted(taken(answer)) == [(job_id, i, 1) for i in range(5)]


def test_tenants_are_served_in_turn_whatever_the_length_of_their_queues(mill: Mill) -> None:
    big = mill.submit(1000, "big")
    worker = mill.worker()
    answer = worker.exchange([], 8)
    small = mill.submit(3, "small")
    answer = worker.exchange(done(answer, tokens=7), 6)
    jobs = [job for job, _, _ in taken(answer)]
    assert jobs.count(small) == 3 and jobs.count(big) == 3


def test_a_single_item_starts_at_the_next_free_slot_beside_a_backlog_of_100_000(mill: Mill) -> None:
    mill.submit(100_000, "big")
    worker = mill.worker()
    held = worker.exchange([], 8)
    small = mill.submit(1, "small")
    answer = worker.exchange(done(held)[:1], 1)
    assert taken(answer) == [(small, 0, 1)]


def test_priority_ages(mill: Mill) -> None:
    """Ten minutes of waiting weigh as much as a step of priority."""
    for minutes, first in ((9, "new"), (11, "old")):
        jobs = {"old": mill.submit(1, priority=0)}
        mill.client.hincrby(f"pm:job:{jobs['old']}", "created_at", -minutes * 60_000)
        mill.store.edit(jobs["old"], "priority", 0)  # listed anew
        jobs["new"] = mill.submit(1, priority=1)
        worker = mill.worker()
        assert worker.exchange([], 1).runs[0].job_id == jobs[first]
        for job_id in jobs.values():
            mill.store.delete(job_id)


def test_higher_priority_goes_first_among_a_tenants_own_jobs(mill: Mill) -> None:
    low, high = mill.submit(1, priority=0), mill.submit(1, priority=1)
    worker = mill.worker()
    assert [worker.exchange([], 1).runs[0].job_id for _ in range(2)] == [high, low]


def test_an_item_with_many_continuations_waits_for_that_many_slots(mill: Mill) -> None:
    job_id, worker = mill.submit(3, n_max=4), mill.worker(slots=8)
    assert worker.exchange([], 3).runs == []
    assert taken(worker.exchange([], 8)) == [(job_id, 0, 1), (job_id, 1, 1)]


def test_started_and_finished_are_told_to_the_outbox_once_each(mill: Mill) -> None:
    job_id, worker = mill.submit(2, hooks="job.started,job.finished"), mill.worker()
    answer = worker.exchange([], 1)
    assert answer.hooked
    answer = worker.exchange(done(answer), 1)
    assert not answer.hooked
    assert worker.exchange(done(answer), 1).hooked
    events = mill.store.hooks(job_id)
    assert [event.type for event in events] == ["job.started", "job.finished"]
    data = json.loads(mill.client.hget(f"pm:hook:{events[1].id}", "data"))
    assert (data["id"], data["status"], data["counts"]["succeeded"]) == (job_id, "completed", 2)


def test_a_job_nobody_subscribed_to_writes_no_events(mill: Mill) -> None:
    job_id, worker = mill.submit(1), mill.worker()
    worker.exchange(done(worker.exchange([], 1)), 1)
    assert mill.store.hooks(job_id) == []
    assert mill.client.zcard("pm:hooks:due") == 0


def test_items_finish_in_the_order_readers_follow(mill: Mill) -> None:
    job_id, worker = mill.submit(4), mill.worker()
    first, second, third, fourth = done(worker.exchange([], 4))
    worker.exchange([third, first], 0)
    worker.exchange([fourth, second], 0)
    assert mill.store.finished_after(job_id, 0, 10) == [2, 0, 3, 1]
    assert mill.store.finished_after(job_id, 2, 1) == [3]


def test_a_failed_item_never_fails_its_job(mill: Mill) -> None:
    job_id, worker = mill.submit(3), mill.worker()
    results = done(worker.exchange([], 3))
    failed = done(mill_exchange_none := worker.exchange([], 0), ItemState.FAILED)
    assert failed == [] and mill_exchange_none.runs == []
    results[1] = results[1].__class__(**{**vars(results[1]), "state": ItemState.FAILED})
    worker.exchange(results, 0)
    assert mill.store.job(job_id).status == "completed"
    assert mill.counts(job_id) == {"succeeded": 2, "failed": 1}


def test_a_result_that_is_in_one_call_twice_counts_once(mill: Mill) -> None:
    job_id, worker = mill.submit(2), mill.worker()
    results = done(worker.exchange([], 2))
    assert worker.exchange([*results, results[0]], 0).refused == [(job_id, 0)]
    assert mill.counts(job_id) == {"succeeded": 2}
    assert mill.store.finished_after(job_id, 0, 10) == [0, 1]


def test_an_exchange_needs_a_bounded_number_of_commands_for_each_job(mill: Mill) -> None:
    """Counted by the server, those that the script runs included: 54 of them for a job in and a job
    out, once."""
    for tenants, most in ((1, 12), (100, 20)):
        for number in range(200):
            mill.submit(1, f"t{number % tenants}")
        worker = mill.worker(slots=100)
        results = done(worker.exchange([], 100))
        mill.client.config_resetstat()
        assert len(taken(worker.exchange(results, 100))) == 100
        calls = sum(stat["calls"] for stat in mill.client.info("commandstats").values())
        assert calls < most * 100
        worker.release()
        mill.client.flushall()


def test_many_tenants_with_many_jobs_are_served_level(mill: Mill) -> None:
    for number in range(50):
        for _ in range(12 if number % 2 else 3):
            mill.submit(2, f"t{number}")
    worker = mill.worker(slots=250)
    owners = [mill.store.job(job_id).tenant for job_id, _, _ in taken(worker.exchange([], 250))]
    assert {owners.count(f"t{number}") for number in range(50)} == {5}
    owners = [mill.store.job(job_id).tenant for job_id, _, _ in taken(worker.exchange([], 250))]
    assert [owners.count(f"t{number}") for number in (0, 2, 48)] == [1, 1, 1]
    assert sum(owners.count(f"t{number}") for number in range(1, 50, 2)) == 225


def test_items_picked_one_by_one_are_one_run_where_they_are_contiguous(mill: Mill) -> None:
    first, second = mill.submit(10, "a"), mill.submit(10, "b")
    runs = mill.worker().exchange([], 8).runs
    assert sorted((run.job_id, run.first, run.count) for run in runs) == sorted(
        [(first, 0, 4), (second, 0, 4)]
    )
