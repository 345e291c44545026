"""The list of jobs: found by what the address says, renamed, deleted, several at once."""

from __future__ import annotations

import re

import pytest

from tests.support.web import Site


@pytest.fixture
def jobs(site: Site) -> list[str]:
    made = [site.submit("a", "b", metadata={"name": f"Job {i}", "team": "x"}) for i in range(4)]
    site.worker().run(4)
    return made


def listed(site: Site, query: str = "") -> list[str]:
    return re.findall(r'<tr id="(job_\w+)">', site.look(f"/jobs{query}"))


def press(site: Site, action: str, ids: list[str], **more: str) -> str:
    answer = site.browser.post("/jobs", data={"action": action, "job": ids, **more})
    assert answer.status_code in (200, 303), answer.text
    return str(answer.text)


def test_what_was_chosen_is_found_and_shown(site: Site, jobs: list[str]) -> None:
    assert listed(site) == jobs[::-1]
    assert listed(site, "?search=job+2") == [jobs[2]]
    assert listed(site, "?status=completed&order=created") == jobs[:2]
    assert listed(site, "?model=none") == []
    text = site.look("/jobs?search=job+2&status=queued")
    assert 'name="search" value="job 2"' in text
    assert '<option value="queued" selected>' in text
    html = {"Accept": "text/html"}
    assert site.browser.get("/jobs?status=lost", headers=html).status_code == 422


def test_a_choice_goes_on_with_the_next_page(site: Site) -> None:
    made = [site.submit("a", metadata={"name": "Many"}) for _ in range(27)]
    path, seen = "?search=many", []
    for _ in range(2):
        seen += listed(site, path)
        more = re.search(r'href="/jobs(\?[^"]+)" rel="next"', site.look(f"/jobs{path}"))
        path = more[1].replace("&amp;", "&") if more else ""
    assert (seen, path) == (made[::-1], "")


def test_a_job_is_renamed_also_when_it_is_over_and_keeps_the_rest(
    site: Site, jobs: list[str]
) -> None:
    answer = site.browser.post(f"/jobs/{jobs[0]}/rename", data={"name": " <b>New</b> "})
    assert (answer.status_code, answer.location) == (303, f"/jobs/{jobs[0]}")
    assert "&lt;b&gt;New&lt;/b&gt;" in site.look(f"/jobs/{jobs[0]}")
    assert site.get(f"/v1/jobs/{jobs[0]}").json["metadata"] == {"name": "<b>New</b>", "team": "x"}
    site.browser.post(f"/jobs/{jobs[0]}/rename", data={"name": ""})
    assert site.get(f"/v1/jobs/{jobs[0]}").json["metadata"] == {"team": "x"}


def test_nothing_is_deleted_before_it_was_asked(site: Site, jobs: list[str]) -> None:
    asked = press(site, "delete", jobs[:2])
    assert "Delete 2 jobs?" in asked
    assert listed(site) == jobs[::-1]
    press(site, "delete", jobs[:2], sure="yes")
    assert listed(site) == jobs[:1:-1]
    press(site, "delete", jobs[:2], sure="yes")  # again: they are gone


def test_several_are_paused_resumed_and_cancelled(site: Site, jobs: list[str]) -> None:
    press(site, "pause", jobs)  # of which two are over
    assert listed(site, "?status=paused") == jobs[:1:-1]
    press(site, "resume", jobs)
    assert listed(site, "?status=paused") == []
    assert "Cancel 4 jobs?" in press(site, "cancel", jobs)
    press(site, "cancel", jobs, sure="yes")
    assert listed(site, "?status=cancelled") == jobs[:1:-1]


def test_nothing_selected_does_nothing_and_no_other_action_is_known(
    site: Site, jobs: list[str]
) -> None:
    press(site, "delete", [], sure="yes")
    assert len(listed(site)) == 4
    for name in ("", ":in", "x" * 300, "job_0\x00", "*"):
        press(site, "delete", [name], sure="yes")
        press(site, "delete", [name])
    assert len(listed(site)) == 4
    answer = site.browser.post("/jobs", data={"action": "explode", "job": jobs})
    assert answer.status_code == 422


def test_another_tenants_jobs_stay_as_they_are(site: Site, jobs: list[str]) -> None:
    site.services.api_keys.create_key("other")
    other = site.log_in("other")
    for action in ("pause", "cancel", "delete"):
        other.post("/jobs", data={"action": action, "job": jobs, "sure": "yes"})
    assert "Delete 0 jobs?" in other.post("/jobs", data={"action": "delete", "job": jobs}).text
    assert other.post(f"/jobs/{jobs[0]}/rename", data={"name": "x"}).status_code == 404
    assert listed(site) == jobs[::-1]
    assert listed(site, "?status=paused") == listed(site, "?status=cancelled") == []


def test_trials_retries_and_reruns_are_marked(site: Site) -> None:
    site.send("try", prompts="a\nb\nc\nd")
    (trial,) = listed(site)
    worker = site.worker()
    worker.finish(worker.take(), error="engine_error")
    for action in ("retry", "rerun"):
        site.browser.post(f"/jobs/{trial}/{action}", data={"rows": "all"})
    text = site.look("/jobs")
    assert re.findall(r'<span class="mark">(\w+)</span>', text) == ["rerun", "retry", "trial"]
    assert site.get(f"/v1/jobs/{trial}").json["trial"] is True


def test_duration_is_shown_without_pauses(site: Site, jobs: list[str]) -> None:
    assert re.search(r'nowrap">[\d.]+ s</td>', site.look("/jobs?status=completed"))
