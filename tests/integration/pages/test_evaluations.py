"""Evaluations on the page of a job: what it shows of them, and its items by their scores."""

from __future__ import annotations

import html
import math
import re

import pytest

from common.store.evaluation_work import Ended, EvaluationWork
from common.store.evaluations import Asked
from tests.support.judged_jobs import judge, keep_scores
from tests.support.web import Site

ITEMS = 60
# Item 30 has the lowest score, item 31 none; items 0 and 1 have the same.
SCORES = [0.5, 0.5, *(0.2 + index / 100 for index in range(2, ITEMS))]
SCORES[30], SCORES[31] = 0.01, math.nan


@pytest.fixture
def job_id(site: Site) -> str:
    """A job that is over."""
    made = site.submit(*[f"prompt {index}" for index in range(ITEMS)])
    site.worker().run(ITEMS)
    return made


@pytest.fixture
def judged(site: Site, job_id: str) -> str:
    lengths = [float(index) for index in range(ITEMS)]
    judge(site.services.redis, job_id, "acme", {"rouge_l": SCORES, "length_chars": lengths})
    return job_id


def rows(site: Site, path: str) -> list[int]:
    return [int(index) for index in re.findall(r'id="item-(\d+)"', site.look(path))]


def test_the_page_of_a_job_says_how_good_it_is_and_how_sure_that_is(
    site: Site, judged: str
) -> None:
    page = site.look(f"/jobs/{judged}")
    tile = page.split('data-part="metric-rouge_l"')[1].split("</article>")[0]
    evaluation = site.services.evaluations.newest_done(judged)
    assert evaluation
    summary = evaluation.summary["rouge_l"]
    assert f"<b>{summary['value']:.3f}</b>" in tile
    assert f"{summary['low']:.3f} to {summary['high']:.3f}" in tile
    assert "59 scored · 1 without a score · coverage 98.3\N{NO-BREAK SPACE}%" in tile
    assert "higher is better" in tile and "0.200 to 0.250: 3 items" in tile
    assert "how the scores were made" in page.lower() and "made up" in page


def test_a_bar_leads_to_the_items_that_it_stands_for(site: Site, judged: str) -> None:
    page = site.look(f"/jobs/{judged}")
    tile = page.split('data-part="metric-rouge_l"')[1].split("</article>")[0]
    links = re.findall(r'<td><a href="(\?[^"#]+)#items">.*?([\d,]+)</td></tr>', tile)
    assert sum(int(count) for _, count in links) == 59
    for link, count in links:
        assert len(rows(site, f"/jobs/{judged}{html.unescape(link)}")) == int(count)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("order=score&metric=rouge_l&below=0.25", [30, 2, 3, 4]),
        ("metric=rouge_l&below=0.25", [2, 3, 4, 30]),
        ("metric=rouge_l&least=0.5&below=0.52", [0, 1]),
        ("metric=length_chars&least=57", [57, 58, 59]),
        ("metric=length_chars&least=57&order=-score", [59, 58, 57]),
        ("metric=length_chars&least=57&order=-finished", [59, 58, 57]),
        ("metric=length_chars&below=12&text=prompt+1", [1, 10, 11]),
        ("metric=length_chars&below=3&state=failed", []),
        ("metric=rouge_l", list(range(50))),
    ],
)
def test_items_are_found_by_their_scores(
    site: Site, judged: str, query: str, found: list[int]
) -> None:
    assert rows(site, f"/jobs/{judged}?{query}") == found


def test_a_list_in_the_order_of_scores_goes_on_and_ends_with_items_without(
    site: Site, judged: str
) -> None:
    path: str | None = f"/jobs/{judged}?order=-score&metric=rouge_l"
    found = []
    while path:
        found += rows(site, path)
        more = re.search(r'href="([^"]+)" rel="next"', site.look(path))
        path = html.unescape(more[1]).partition("#")[0] if more else None
    scored = [index for index in range(ITEMS) if index != 31]
    assert found == [*sorted(scored, key=lambda index: -SCORES[index]), 31]


def test_the_next_item_is_that_of_the_list_in_the_order_of_scores(site: Site, judged: str) -> None:
    query = "?order=score&metric=rouge_l&below=0.25"
    path = f"/jobs/{judged}/items"
    assert site.browser.get(f"{path}/30/next{query}").location.startswith(f"{path}/2?")
    assert site.browser.get(f"{path}/3/previous{query}").location.startswith(f"{path}/2?")
    assert site.browser.get(f"{path}/30/previous{query}").status_code == 404
    assert "0.010" in site.look(f"{path}/30{query}")


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("order=score&metric=bleu", "no scores of &#39;bleu&#39;; it has rouge_l, length_chars"),
        ("metric=rouge_l&below=much", "Below must be a number"),
        ("metric=rouge_l&below=nan", "Below must be a finite number"),
    ],
)
def test_scores_that_there_are_not_are_refused_by_name(
    site: Site, judged: str, query: str, says: str
) -> None:
    headers = {"Accept": "text/html"}
    answer = site.browser.get(f"/jobs/{judged}?{query}", headers=headers)
    assert answer.status_code == 422 and says in answer.text


def test_a_job_without_scores_cannot_be_sorted_by_them(site: Site, job_id: str) -> None:
    assert "Lowest score first" not in site.look(f"/jobs/{job_id}")
    answer = site.browser.get(f"/jobs/{job_id}?order=score", headers={"Accept": "text/html"})
    assert answer.status_code == 422 and "evaluate it first" in answer.text


def test_progress_is_shown_and_the_page_goes_on_until_the_evaluation_is_over(
    site: Site, job_id: str
) -> None:
    site.services.evaluations.create(job_id, "acme", Asked(["rouge_l"], []))
    page = site.look(f"/jobs/{job_id}")
    assert 'data-settled="no"' in page and "promptmill evaluator" in page
    work = EvaluationWork(site.services.redis)
    claimed = work.claim()
    assert claimed
    keep_scores(work, claimed, {"rouge_l": SCORES[:48]})
    page = site.look(f"/jobs/{job_id}")
    assert 'data-settled="no"' in page and "48 of 60 items scored" in page
    error = {"code": "evaluator_died", "message": "it did not work <b>out"}
    assert work.end(claimed, Ended({}, {}, error=error))[0]  # type: ignore[arg-type]
    page = site.look(f"/jobs/{job_id}")
    assert 'data-settled="yes"' in page and "it did not work &lt;b&gt;out" in page


def test_a_gate_says_what_it_asked_for_and_why_it_is_undecided(site: Site, job_id: str) -> None:
    rules = [{"metric": "rouge_l", "min": 0.9}, {"metric": "rouge_l", "max": 0.5}]
    verdicts = [
        {"metric": "rouge_l", "status": "failed", "reason": None},
        {"metric": "rouge_l", "status": "undecided", "reason": "straddles"},
    ]
    gate = {"status": "failed", "rules": verdicts}
    judge(site.services.redis, job_id, "acme", {"rouge_l": SCORES}, gate, rules)
    part = site.look(f"/jobs/{job_id}").split('class="gate"')[1].split("</ul>")[0]
    assert "rouge_l is at least 0.900" in part and "rouge_l is at most 0.500" in part
    assert part.count("state failed") == 2 and "the interval has the limit within it" in part


def test_an_earlier_evaluation_is_shown_when_the_address_names_it(site: Site, judged: str) -> None:
    first = site.services.evaluations.newest_done(judged)
    assert first
    judge(site.services.redis, judged, "acme", {"token_f1": SCORES})
    assert "metric-token_f1" in site.look(f"/jobs/{judged}")
    page = site.look(f"/jobs/{judged}?evaluation={first.id}")
    assert "metric-rouge_l" in page and "metric-token_f1" not in page
    assert f'name="evaluation" value="{first.id}"' in page
    other = site.submit("hello")
    site.worker().run(1)
    for job_id, evaluation in ((other, first.id), (judged, "eval_0none")):
        assert site.browser.get(f"/jobs/{job_id}?evaluation={evaluation}").status_code == 404
