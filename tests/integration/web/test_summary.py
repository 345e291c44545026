"""What the charts of a job show, of jobs of any size."""

from __future__ import annotations

import pytest

from common.store.incarnation import Result
from common.store.packing import pack
from common.types import ItemState
from tests.support.web import Web
from web.services import samples


def finish(web: Web, count: int, tokens: int = 2, ran: float = 0.2, queued: float = 0.1) -> None:
    """Hand in results of `count` items, each of `tokens` tokens and `ran` seconds."""
    worker = web.worker()
    taken = worker.take(count)
    results = [
        Result(
            run.job_id,
            run.first + offset,
            run.attempt,
            ItemState.SUCCEEDED,
            3,
            tokens,
            pack(
                {
                    "outputs": [{"text": "x", "finish_reason": "stop", "token_count": tokens}],
                    "usage": {"completion_tokens": tokens},
                    "queued_s": queued,
                    "run_s": ran,
                }
            ),
        )
        for run in taken.runs
        for offset in range(run.count)
    ]
    worker.incarnation.exchange(results, 0)


def test_the_charts_of_a_small_job_count_every_result(web: Web) -> None:
    job = web.submit(*"abcde")
    worker = web.worker()
    worker.run(3)
    worker.run(1, error="engine_error")
    found = web.get(f"/v1/jobs/{job}/summary").json
    assert (found["finished"], found["read"], found["every"], found["complete"]) == (4, 4, 1, True)
    assert found["finish_reasons"] == {"stop": 3}
    assert found["lengths"] == [{"low": 2, "high": 2, "outputs": 3}]
    timeline = found["timeline"]
    assert sum(each["finished"] for each in timeline) == timeline[-1]["done"] == 4
    assert sum(each["failed"] for each in timeline) == 1
    assert len(timeline) <= 60


def test_the_charts_of_a_job_without_results_are_empty(web: Web) -> None:
    found = web.get(f"/v1/jobs/{web.submit()}/summary").json
    assert (found["finished"], found["timeline"], found["lengths"]) == (0, [], [])
    assert found["complete"]


def test_tokens_are_spread_over_the_time_that_their_item_ran(web: Web) -> None:
    job = web.submit("a", "b")
    finish(web, 1, tokens=100, ran=50.0, queued=10.0)
    finish(web, 1, tokens=60, ran=20.0, queued=0.0)
    found = web.get(f"/v1/jobs/{job}/summary").json
    generated = sum(each["tokens_per_s"] * found["seconds"] for each in found["timeline"])
    assert generated == pytest.approx(160, rel=0.02)
    rates = [each["tokens_per_s"] for each in found["timeline"]]
    per_bin = found["seconds"]
    assert rates[int(5 / per_bin)] == pytest.approx(3, abs=0.1)
    assert rates[int(15 / per_bin)] == pytest.approx(5, abs=0.1)
    assert rates[int(40 / per_bin)] == pytest.approx(2, abs=0.1)


def test_a_look_at_a_large_job_reads_few_results_and_the_next_only_new_ones(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "MOST", 16)
    read, blobs = [0], web.services.store.result_blobs

    def count(job_id: str, indices: list[int]) -> list[bytes | None]:
        read[0] += len(indices)
        return blobs(job_id, indices)

    monkeypatch.setattr(web.services.store, "result_blobs", count)
    job = web.submit(*["a"] * 200)
    finish(web, 100)
    found = web.get(f"/v1/jobs/{job}/summary").json
    assert (found["every"], found["read"], read[0]) == (8, 13, 13)
    assert found["timeline"][-1]["done"] == pytest.approx(100, abs=8)
    assert sum(each["outputs"] for each in found["lengths"]) == found["finish_reasons"]["stop"]
    finish(web, 20)
    found = web.get(f"/v1/jobs/{job}/summary").json
    assert (found["every"], found["read"], read[0]) == (8, 15, 15)
    finish(web, 80)
    found = web.get(f"/v1/jobs/{job}/summary").json
    # 120 results at every 8th place are 15, of which every second is kept: 8, and then 5 new ones.
    assert (found["every"], found["read"], read[0]) == (16, 13, 20)


def test_another_processs_charts_are_the_same(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "MOST", 8)
    job = web.submit(*["a"] * 60)
    for _ in range(6):
        finish(web, 10)
        grown = web.services.samples.of(job).look(web.services.store.job(job))
    fresh = samples.AllSamples(web.services.store).of(job).look(web.services.store.job(job))
    assert fresh == grown


def test_reading_that_takes_too_long_stops_and_goes_on_with_the_next_look(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "BATCH", 4)
    job = web.submit(*["a"] * 10)
    finish(web, 10)
    monkeypatch.setattr(samples, "BUDGET", -1.0)
    assert not web.get(f"/v1/jobs/{job}/summary").json["complete"]
    monkeypatch.setattr(samples, "BUDGET", 1.0)
    found = web.get(f"/v1/jobs/{job}/summary").json
    assert (found["complete"], found["read"]) == (True, 10)


def test_a_damaged_result_spoils_no_chart(web: Web) -> None:
    job = web.submit("a", "b")
    web.worker().run(2)
    web.services.redis.hset(f"pm:job:{job}:out", "0", b"\x00 not a result")
    found = web.get(f"/v1/jobs/{job}/summary").json
    assert (found["read"], found["finish_reasons"]) == (2, {"stop": 1})


def test_charts_of_another_tenants_job_are_not_found(web: Web) -> None:
    job = web.submit("a")
    other = web.services.api_keys.create_key("rival")
    assert web.get(f"/v1/jobs/{job}/summary", key=other).status_code == 404


def test_charts_and_errors_forget_what_the_server_lost(web: Web) -> None:
    job = web.submit(*"abcd")
    worker = web.worker()
    worker.run(2)
    worker.run(2, error="engine_error")
    assert web.get(f"/v1/jobs/{job}/summary").json["read"] == 4
    assert web.get(f"/v1/jobs/{job}/errors").json["data"][0]["count"] == 2
    order = web.services.redis.getrange(f"pm:job:{job}:order", 0, 11)
    web.services.redis.set(f"pm:job:{job}:order", order)
    assert web.get(f"/v1/jobs/{job}/summary").json["read"] == 3
    assert web.get(f"/v1/jobs/{job}/errors").json["data"][0]["count"] == 1
