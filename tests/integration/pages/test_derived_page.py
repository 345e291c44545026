"""The page of a job that is made of the rows of other jobs."""

from __future__ import annotations

import re

from tests.support.derived import answer_all, can_judge, derived, settle
from tests.support.web import Site


def test_a_waiting_job_says_of_which_jobs_it_is_and_what_it_waits_for(site: Site) -> None:
    first, second = site.submit("a"), site.submit("b")
    made = derived(site, first, second)
    page = site.look(f"/jobs/{made}")
    assert "Waiting for other jobs." in page
    for source in (first, second):
        assert f'<a href="/jobs/{source}">{source}</a>' in page
    assert "0 of 0 done" in page and "No items yet." in page and "0 to -1" not in page
    assert "waits for other jobs" in site.look("/jobs")
    for part in ("charts", "cancel", "share"):
        assert site.browser.get(f"/jobs/{made}/{part}").status_code in (200, 404), part
    answer_all(site, "x")
    answer_all(site, "y")
    settle(site)
    page = site.look(f"/jobs/{made}")
    assert "Waiting for other jobs." not in page and "Made of the rows of" in page
    assert "input_from" in page, "the command that submits the same"


def test_it_is_cancelled_or_paused_like_any_other(site: Site) -> None:
    source = site.submit("a")
    made = derived(site, source)
    site.browser.post(f"/jobs/{made}/pause")
    assert "It is paused" in site.look(f"/jobs/{made}")
    site.browser.post(f"/jobs/{made}/cancel")
    page = site.look(f"/jobs/{made}")
    assert ">cancelled<" in page and "Waiting for" not in page


def test_one_that_could_not_be_made_says_why(site: Site) -> None:
    source = site.submit("a")
    made = derived(site, source)
    site.call("DELETE", f"/v1/jobs/{source}")
    page = site.look(f"/jobs/{made}")
    assert "The job could not be made." in page
    assert f"The job {source} was deleted before this one could be made of its rows." in page


def test_a_judge_says_what_it_judges(site: Site) -> None:
    can_judge(site)
    first, second = site.submit("a"), site.submit("b")
    page = site.look(f"/jobs/{derived(site, first, second, judge='pairs')}")
    assert "Judges pairs of outputs of" in page and '<span class="mark">judge</span>' in page
    assert "Verdicts" not in page


def test_the_page_of_a_judge_tells_what_it_found(site: Site) -> None:
    can_judge(site)
    first, second = site.submit("a", "b"), site.submit("a", "b")
    for _ in range(2):
        answer_all(site, "x", "y")
    pairs = derived(site, first, second, judge="pairs")
    grades = derived(site, first, judge="scale")
    settle(site)
    answer_all(site, "A", "B", "A", "A")
    answer_all(site, "4", "5")
    page = " ".join(re.sub("<[^>]+>", " ", site.look(f"/jobs/{pairs}")).split())
    assert "2 of 2 rows judged, each in both orders." in page
    assert page.index("Verdicts") < page.index("Evaluation")
    assert f"{first} (A) better 1 {second} (B) better 0 Ties 1 , in 1 the answer changed" in page
    assert "Mean grade</dt><dd>4.50" in site.look(f"/jobs/{grades}")


def test_it_can_fill_the_form_and_be_shared_while_it_waits(site: Site) -> None:
    made = derived(site, site.submit("a"))
    assert site.browser.get(f"/?like={made}").status_code in (200, 303)
    assert site.browser.get(f"/jobs/{made}/shares").status_code == 200
    assert site.browser.get(f"/jobs/{made}/items/0").status_code == 404
