"""The pages of studies: made from jobs, with raters' links, and what votes amount to."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.integration.pages.test_people import shown_secret
from tests.support.people import finished, prefer, rate, rater, study_of
from tests.support.web import Site


@pytest.fixture
def jobs(site: Site) -> list[str]:
    return [finished(site, text, metadata={"name": f"Job {text}"}) for text in ("one", "two")]


def fill(ids: list[str], **typed: str) -> dict[str, str]:
    form = {"kind": "pairs", "criteria": "fluency, relevance", "sample": "3", "raters": "2"}
    return form | {"jobs": ", ".join(ids)} | typed


def test_a_study_is_made_from_jobs_that_were_ticked(site: Site, jobs: list[str]) -> None:
    ticked = site.browser.post("/jobs", data={"action": "study", "job": jobs[::-1]})
    assert ticked.status_code == 303
    form = site.look(ticked.headers["Location"])
    assert f'value="{jobs[0]}, {jobs[1]}"' in form and "Job one" in form
    made = site.browser.post("/studies", data=fill(jobs))
    assert made.status_code == 303
    page = site.look(made.headers["Location"])
    assert "0 of 6 ratings" in page and "fluency" in page and "relevance" in page
    assert "Job one · Job two" in site.look("/studies")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"jobs": ""}, "must not be empty"),
        ({"jobs": "job_0nothing, job_0none"}, "no job job_0nothing"),
        ({"sample": "many"}, "must be"),
        ({"sample": "9999"}, "2000"),
        ({"kind": ""}, "must be"),
        ({"criteria": " , "}, "must not be empty"),
    ],
)
def test_what_cannot_be_a_study_comes_back_with_what_is_wrong(
    site: Site, jobs: list[str], typed: Any, said: str
) -> None:
    answer = site.browser.post("/studies", data=fill(jobs, **typed))
    assert answer.status_code in (404, 422)
    wrong = "".join(re.findall(r'data-errors="\w*"[^>]*>(.*?)</div>', answer.text, re.S))
    assert said in wrong


def test_a_raters_link_is_shown_once_and_rates(site: Site, jobs: list[str]) -> None:
    study = study_of(site, *jobs)["id"]
    made = site.browser.post(f"/studies/{study}/raters", data={"name": "Ada <b>"})
    assert (made.status_code, made.headers["Cache-Control"]) == (201, "no-store")
    token = shown_secret(made.text).partition("token=")[2]
    page = site.look(f"/studies/{study}")
    assert "Ada &lt;b&gt;" in page and token not in page
    guest = site.app.test_client()
    guest.post("/rate/open", data={"token": token})
    rate(guest, fluency="tie")
    assert "1 of 6 ratings" in site.look(f"/studies/{study}")
    found = re.search(rf'action="(/studies/{study}/raters/rater_\w+/revoke)"', page)
    assert found
    assert site.browser.post(found[1]).status_code == 303
    assert guest.get("/rate/v1/rating/next").status_code == 404
    assert site.browser.post(f"/studies/{study}/raters", data={"name": " "}).status_code == 422


@pytest.mark.parametrize("kind", ["pairs", "scale"])
def test_results_are_shown_with_their_intervals(site: Site, kind: str) -> None:
    jobs = [finished(site, text, rows=20, metadata={"name": text}) for text in ("good", "bad")]
    study = study_of(site, *jobs, kind=kind, raters=1)
    browser = rater(site, study["id"])
    if kind == "pairs":
        prefer(browser, "good", 20)
    else:
        for value in range(40):
            rate(browser, fluency=1 + value % 5)
    page = site.look(f"/studies/{study['id']}")
    assert "of " in page and 'class="bar"' in page
    assert ("100 %" in page) == (kind == "pairs")
    assert site.browser.get(f"/v1/studies/{study['id']}/export.csv").status_code == 200


def test_a_study_is_deleted_on_its_page(site: Site, jobs: list[str]) -> None:
    study = study_of(site, *jobs)["id"]
    assert site.browser.post(f"/studies/{study}/delete").status_code == 303
    assert site.browser.get(f"/studies/{study}").status_code == 404
    assert "No studies yet" in site.look("/studies")


def test_another_tenants_study_has_no_page(site: Site, jobs: list[str]) -> None:
    study = study_of(site, *jobs)["id"]
    rater(site, study)
    other = site.log_in("globex")
    assert other.get(f"/studies/{study}").status_code == 404
    (person,) = site.services.raters.of(study)
    for path in ("delete", "raters", f"raters/{person.id}/revoke"):
        assert other.post(f"/studies/{study}/{path}", data={"name": "Eve"}).status_code == 404
    assert study not in other.get("/studies").text
    assert other.post("/studies", data=fill(jobs)).status_code == 404
    assert "Job one" not in other.get(f"/studies/new?job={jobs[0]}").text
