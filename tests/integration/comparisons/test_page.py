"""The page that compares jobs, without a browser."""

from __future__ import annotations

import re

import pytest

from tests.support.compared import Judged, compare_all
from tests.support.web import Site

GOOD, BAD = "the cat sat on the mat", "a dog ran <b>far</b> & away"


def look(site: Site, *jobs: str, **query: object) -> str:
    extra = "".join(f"&{name}={value}" for name, value in query.items())
    path = f"/compare?jobs={','.join(jobs)}{extra}"
    site.look(path)
    compare_all(site.services.redis)
    return site.look(path)


def words(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_it_has_scores_settings_and_rows_side_by_side(site: Site, judged: Judged) -> None:
    one = judged([BAD] * 25, params={"temperature": 0.5}, metadata={"name": "Cold <ones>"})
    other = judged([GOOD] * 25)
    html = look(site, one, other)
    text = words(html)
    assert (
        "25 rows matched by custom_id; 25 succeeded in all jobs; in 25 an output differs from A"
        in text
    )
    assert "Cold &lt;ones&gt;" in html
    assert "params.temperature" in html
    assert re.search(r"rouge_l higher is better A 25 0 .*?B 25 1 \+1", text)
    assert 'class="interval better"' in html
    assert html.count('class="card compared"') == 10
    assert 'rel="next" href="/compare?jobs=' in html
    assert "25 / 0 / 0" in text


def test_words_that_differ_are_marked_and_texts_are_escaped(site: Site, judged: Judged) -> None:
    one, other = judged(["the cat <i>sat</i>"]), judged(["the dog <i>sat</i>"])
    html = look(site, one, other)
    assert "the <del>cat</del> &lt;i&gt;sat&lt;/i&gt;" in html
    assert "the <ins>dog</ins> &lt;i&gt;sat&lt;/i&gt;" in html
    assert "<i>sat" not in html


def test_it_says_what_its_scores_do_not_tell(site: Site, judged: Judged) -> None:
    one, other = judged([GOOD, None]), judged([GOOD, GOOD], reference=BAD)
    site.post(f"/v1/jobs/{one}/retry")
    told = words(look(site, one, other))
    assert "failed items were retried; retries do not count here" in told
    assert "2 rows were not compared with the same references in all jobs" in told
    plain = words(look(site, other, other))
    assert "same references" not in plain
    assert "retried" not in plain


def test_four_jobs_stand_side_by_side(site: Site, judged: Judged) -> None:
    jobs = [judged([text]) for text in (GOOD, BAD, "the cat sat", GOOD)]
    html = look(site, *jobs)
    assert html.count("In full") == 4
    assert '<div class="text">the cat sat on the mat</div>' in html


def test_links_keep_the_view(site: Site, judged: Judged) -> None:
    one, other = judged([GOOD] * 15, ("rouge_l", "chrf")), judged([BAD] * 15, ("rouge_l", "chrf"))
    html = look(site, one, other, filter="worse", metric="chrf")
    assert (
        f"/compare?jobs={one},{other}&amp;filter=worse&amp;metric=chrf&amp;after=9"
        in html.replace("%2C", ",")
    )
    assert "that do worse by chrf" in words(html)
    assert "First rows" in look(site, one, other, filter="worse", metric="chrf", after=9)


def test_filters_find_rows(site: Site, judged: Judged) -> None:
    one, other = judged([GOOD, GOOD, BAD]), judged([GOOD, None, GOOD])
    for name, index in (("changed", 2), ("better", 2), ("failed", 1)):
        html = look(site, one, other, filter=name)
        assert re.findall(r'id="row-(\d+)"', html) == [str(index)]
    assert "No row is like that" in look(site, one, other, filter="worse")


def test_while_it_is_computed_the_page_says_so_and_comes_again(site: Site, judged: Judged) -> None:
    html = site.look(f"/compare?jobs={judged([GOOD])},{judged([BAD])}")
    assert "is being computed" in html
    assert 'data-settled="no"' in html
    assert 'http-equiv="refresh" content="3; url=/compare?jobs=' in html


def test_what_is_to_be_done_first_is_said(site: Site, judged: Judged) -> None:
    one, bare = judged([GOOD]), judged([GOOD], metrics=())
    answer = site.browser.get(f"/compare?jobs={one},{bare}")
    assert answer.status_code == 409
    assert "which this job has not yet" in answer.text
    assert f'href="/jobs/{bare}/evaluate"' in answer.text
    assert f'href="/jobs/{bare}"' in answer.text


def test_without_a_metric_in_common_it_leads_to_another_evaluation(
    site: Site, judged: Judged
) -> None:
    one, other = judged([GOOD], metrics=["rouge_l"]), judged([GOOD], metrics=["chrf"])
    html = look(site, one, other)
    assert "have no metric in common. Evaluate A or B again" in words(html).replace(" ,", ",")
    assert f'href="/jobs/{other}/evaluate"' in html


def test_jobs_are_chosen_in_the_form_or_in_the_list(site: Site, judged: Judged) -> None:
    assert "no job that is over" in site.look("/compare")
    one, other = judged([GOOD]), judged([BAD])
    html = site.look("/compare")
    assert html.count(f'<option value="{one}"') == 2
    answer = site.browser.get(f"/compare?job={one}&job={other}")
    assert (answer.status_code, answer.location) == (303, f"/compare?jobs={one},{other}")
    answer = site.browser.post("/jobs", data={"action": "compare", "job": [other, one]})
    assert answer.location == f"/compare?job={one}&job={other}"
    assert f'<option value="{other}" selected>' in site.look(f"/compare?job={other}")


def test_too_few_jobs_in_the_address_are_answered_with_the_form(site: Site, judged: Judged) -> None:
    one, _ = judged([GOOD]), judged([BAD])
    answer = site.browser.get(f"/compare?jobs={one}")
    assert answer.status_code == 422
    assert "names 1 job; it takes 2 to 4" in answer.text
    assert f'<option value="{one}" selected>' in answer.text


@pytest.mark.parametrize("query", ["jobs=a", "jobs=job_0x,job_0y", "jobs=a,b&filter=odd", "x=1"])
def test_bad_addresses_are_answered_as_pages(site: Site, query: str) -> None:
    answer = site.browser.get(f"/compare?{query}")
    assert answer.status_code in (200, 404, 422)
    assert "<html" in answer.text


def test_another_tenant_sees_nothing(site: Site, judged: Judged) -> None:
    one, other = judged([GOOD]), judged([BAD])
    look(site, one, other)
    answer = site.log_in("other").get(f"/compare?jobs={one},{other}")
    assert answer.status_code == 404
    assert GOOD not in answer.text


def test_pages_of_jobs_lead_there(site: Site, judged: Judged) -> None:
    one = judged([GOOD])
    assert f'href="/compare?job={one}"' in site.look(f"/jobs/{one}")
    again = site.post(f"/v1/jobs/{one}/rerun", json={}).json["id"]
    site.worker().run(8)
    assert f'href="/compare?jobs={one},{again}"' in site.look(f"/jobs/{again}")
    sweep = site.post("/v1/sweeps", json={"prompts": ["a"], "sweep": {"temperature": [0, 1]}}).json
    site.worker().run(8)
    jobs = ",".join(job["id"] for job in sweep["jobs"])
    assert f'href="/compare?jobs={jobs}"' in site.look(f"/sweeps/{sweep['id']}")
