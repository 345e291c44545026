"""What the pages say of a job's state is true of all its items."""

from __future__ import annotations

import re

from common.store import keys
from tests.support.web import Site


def state(site: Site, job_id: str) -> tuple[str, str]:
    """Colour and word of a job's state, as its page and the list of jobs have it."""
    page, jobs = site.look(f"/jobs/{job_id}"), site.look("/jobs")
    head = re.search(r'id="progress-title"><span class="state (\w+)">([^<]+)<', page)
    row = re.search(rf'href="/jobs/{job_id}".*?class="state (\w+)">([^<]+)<', jobs, re.DOTALL)
    assert head and row and head.groups() == row.groups()
    return head[1], head[2]


def test_a_job_of_which_all_failed_is_not_green(site: Site) -> None:
    worker, job_id = site.worker(), site.submit("a", "b")
    worker.run(error="engine_error")
    assert state(site, job_id) == ("failed", "all failed")


def test_a_job_of_which_some_failed_says_so(site: Site) -> None:
    worker, job_id = site.worker(), site.submit("a", "b")
    worker.finish(worker.take(1), error="engine_error")
    worker.run()
    assert state(site, job_id) == ("partly", "some failed")


def test_a_job_of_which_nothing_failed_is_green(site: Site) -> None:
    job_id = site.submit("a", "b")
    site.worker().run()
    assert state(site, job_id) == ("completed", "completed")


def test_what_was_cancelled_is_not_done(site: Site) -> None:
    worker, job_id = site.worker(), site.submit(*"abcdefgh")
    worker.run(2)
    site.browser.post(f"/jobs/{job_id}/cancel")
    assert state(site, job_id) == ("cancelled", "cancelled")
    text = site.look(f"/jobs/{job_id}")
    assert "2 of 8 done, 6 cancelled" in text
    assert "8 of 8" not in text


def test_a_paused_job_says_so_and_not_that_it_runs(site: Site) -> None:
    worker, job_id = site.worker(), site.submit("a", "b")
    worker.run(1)
    site.browser.post(f"/jobs/{job_id}/pause")
    assert state(site, job_id) == ("paused", "paused")


def test_one_item_is_one_item(site: Site) -> None:
    job_id = site.submit("a")
    assert 'aria-label="1 item: 1 pending"' in site.look(f"/jobs/{job_id}")


def test_a_job_whose_items_have_their_own_params_does_not_say_all_are_defaults(site: Site) -> None:
    items = [{"prompt": "a", "params": {"temperature": 0.25}}, {"prompt": "b"}]
    job_id = site.post("/v1/jobs", json={"items": items}).json["id"]
    text = site.look(f"/jobs/{job_id}")
    assert "all at their defaults" not in text
    assert "none given for all items" in text


def running_for(site: Site, job_id: str) -> float:
    """What its page says, in seconds."""
    text = site.look(f"/jobs/{job_id}")
    found = re.search(r"<dt>(?:Running|Ran) for</dt><dd>([\d.]+) s<", text)
    assert found, text
    return float(found[1])


def pause(site: Site, job_id: str, seconds: float) -> None:
    """As if the job had been paused for so long: its times are moved back."""
    site.browser.post(f"/jobs/{job_id}/pause")
    for field in ("created_at", "started_at", "paused_at"):
        site.services.redis.hincrby(keys.job(job_id), field, -int(seconds * 1000))


def test_a_pause_is_no_running_time(site: Site) -> None:
    worker, job_id = site.worker(), site.submit("a", "b")
    worker.run(1)
    pause(site, job_id, 5000)
    assert running_for(site, job_id) < 60
    site.browser.post(f"/jobs/{job_id}/resume")
    assert running_for(site, job_id) < 60
    pause(site, job_id, 5000)
    site.browser.post(f"/jobs/{job_id}/resume")
    worker.run()
    assert running_for(site, job_id) < 60
    view = site.get(f"/v1/jobs/{job_id}").json
    assert 9999 < view["paused_s"] < 10060
    assert view["paused_at"] is None


def test_a_pause_that_the_end_of_the_job_ends_is_no_running_time(site: Site) -> None:
    worker, job_id = site.worker(), site.submit("a", "b")
    worker.run(1)
    pause(site, job_id, 5000)
    site.browser.post(f"/jobs/{job_id}/cancel")
    assert running_for(site, job_id) < 60


def test_a_pause_before_the_start_counts_for_nothing(site: Site) -> None:
    job_id = site.submit("a", "b")
    site.browser.post(f"/jobs/{job_id}/pause")
    site.browser.post(f"/jobs/{job_id}/resume")
    site.worker().run(1)
    assert site.get(f"/v1/jobs/{job_id}").json["paused_s"] == 0
