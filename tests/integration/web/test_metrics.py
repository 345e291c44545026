"""`/metrics`: what is counted is the sum over all processes, in Prometheus' own terms."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from common.errors import Unavailable
from common.store.connection import connect
from common.store.evaluation_work import Ended, EvaluationWork
from common.store.evaluations import Asked
from common.store.metrics import Tally
from common.store.outbox import Outbox, Outcome
from tests.support.web import Web

Samples = dict[tuple[str, ...], float]


def scrape(web: Web, **options: object) -> Samples:
    """Name and labels' values, in order of the labels -> value."""
    families = text_string_to_metric_families(web.get("/metrics", **options).text)
    return {
        (
            sample.name.removeprefix("promptmill_"),
            *(value for _, value in sorted(sample.labels.items())),
        ): sample.value
        for family in families
        for sample in family.samples
    }


def test_requests_are_counted_over_all_processes_by_route_method_and_status(
    make_web: Callable[..., Web],
) -> None:
    one, other = make_web(), make_web()
    for web in (one, other):
        web.get("/v1/jobs")
        web.get("/v1/jobs/job_0123")
        web.call("PROPFIND", f"/{web.key}")
    other.services.tally.flush(other.services.redis)  # as its own thread does each second
    told = scrape(one)
    assert told["requests_total", "GET", "/v1/jobs", "200"] == 2
    assert told["requests_total", "GET", "/v1/jobs/{job_id}", "404"] == 2
    assert told["requests_total", "other", "none", "404"] == 2
    assert not any(one.key in part for labels in told for part in labels)


def test_items_and_tokens_are_counted_once_by_how_they_ended(web: Web) -> None:
    job = web.submit("a", "b", "c", "d")
    # Told before there are any, so that a rate is known.
    assert scrape(web)["items_total", "echo", "succeeded"] == 0
    worker = web.worker()
    worker.run(1)
    worker.run(1, error="engine_error")
    web.post(f"/v1/jobs/{job}/cancel")
    told = scrape(web)
    ends = [
        told["items_total", "echo", outcome]
        for outcome in ("succeeded", "failed", "cancelled", "expired")
    ]
    assert ends == [1, 1, 2, 0]
    assert (told["prompt_tokens_total", "echo"], told["generated_tokens_total", "echo"]) == (6, 4)
    web.call("DELETE", f"/v1/jobs/{job}")
    assert scrape(web)["items_total", "echo", "succeeded"] == 1  # a counter never falls


def test_evaluations_are_counted_as_they_wait_run_and_end(web: Web) -> None:
    def told() -> list[float]:
        found = scrape(web)
        gauges = [found["evaluations_waiting",], found["evaluations_running",]]
        return [*gauges, *(found["evaluations_total", end] for end in ("done", "failed"))]

    job = web.submit("a")
    web.worker().run()
    for _ in range(3):
        web.services.evaluations.create(job, "acme", Asked(["length_chars"], []))
    work = EvaluationWork(web.services.redis)
    assert told() == [3, 0, 0, 0]
    one, other = work.claim(), work.claim()
    assert one and other
    assert told() == [1, 2, 0, 0]
    assert work.keep(one, 0, b"scores", 1)
    for _ in range(2):  # sent again because the answer was lost
        assert work.end(one, Ended({}, {}))[0]
    work.end(other, Ended({}, {}, error={"code": "internal_error", "message": "it failed"}))
    assert told() == [1, 0, 1, 1]
    web.call("DELETE", f"/v1/jobs/{job}")
    assert told() == [0, 0, 1, 1]


def test_histograms_have_cumulative_buckets_and_their_sum(web: Web) -> None:
    tally = Tally()  # a worker's
    for seconds in (0.001, 0.002, 0.3, 60):
        tally.observe("step_seconds", 'a "b"\n', seconds)
    tally.flush(web.services.redis)
    told = scrape(web)
    buckets = {
        labels[1]: value for labels, value in told.items() if labels[0] == "step_seconds_bucket"
    }
    assert (buckets["0.002"], buckets["0.25"], buckets["0.5"], buckets["+Inf"]) == (2, 2, 3, 4)
    assert told["step_seconds_count", 'a "b"\n'] == 4
    assert told["step_seconds_sum", 'a "b"\n'] == pytest.approx(60.303)


def test_deliveries_are_counted_by_outcome(web: Web) -> None:
    web.submit("a", webhook={"url": "http://example.com/", "events": ["job.finished"]})
    web.worker().run()
    deliveries = Outbox(web.services.redis, lease=30, attempts=8, backoff=0.001)
    for outcome in (Outcome(0.1, error="it is silent"), Outcome(0.1, status_code=200)):
        while not (events := deliveries.due()):
            pass
        deliveries.record(events[0], outcome)
    told = scrape(web)
    assert (told["deliveries_total", "retried"], told["deliveries_total", "delivered"]) == (1, 1)


def test_openmetrics_is_told_to_whoever_asks_for_it(web: Web) -> None:
    accept = "application/openmetrics-text; version=1.0.0"
    answer = web.get("/metrics", headers={"Accept": accept})
    assert answer.mimetype == "application/openmetrics-text"
    assert any(family.name == "promptmill_requests" for family in openmetrics(answer.text))


def test_what_could_not_be_stored_is_counted_later(redis_url: str, web: Web) -> None:
    tally = Tally()
    tally.count("deliveries", "delivered")
    away = connect("redis://127.0.0.1:1/0")
    with pytest.raises(Unavailable):
        tally.flush(away)
    tally.flush(web.services.redis)
    tally.flush(web.services.redis)
    assert scrape(web)["deliveries_total", "delivered"] == 1


def test_names_of_metrics_follow_the_conventions(web: Web) -> None:
    for family in text_string_to_metric_families(web.get("/metrics").text):
        assert family.name.startswith("promptmill_") and family.documentation
        assert family.type != "histogram" or family.name.endswith("_seconds")
