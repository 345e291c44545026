"""Laws of evaluations in the browser: started, awaited and looked into, also without scripts."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.support.browser import BrowserSite

ITEMS = 25


def finished_job(page: Page, mill: BrowserSite) -> None:
    """Open the page of a job that is over, and was not evaluated."""
    items = [
        {"custom_id": f"row-{index}", "prompt": f"the answer is {index}", "reference": "the answer"}
        for index in range(ITEMS)
    ]
    job = {"model": "echo", "items": items, "evaluate": False}
    answer = page.request.post(f"{mill.url}/v1/jobs", data=job, headers={"Origin": mill.url})
    assert answer.ok, answer.text()
    page.request.get(f"{mill.url}/v1/jobs/{answer.json()['id']}?wait=30")
    page.goto(f"/jobs/{answer.json()['id']}")
    expect(page.locator("[data-terminal=yes]")).to_be_visible()


def evaluate(page: Page) -> None:
    page.get_by_role("link", name="Evaluate…").click()
    page.get_by_role("checkbox", name="rouge_l").check()
    page.locator("[name='rule.0.limit']").fill("1000")
    page.locator("[name='rule.0.metric']").select_option("length_chars")
    page.get_by_role("button", name="Evaluate").click()
    expect(page).to_have_url(re.compile(r"/jobs/job_\w+#evaluation$"))


def test_an_evaluation_is_started_appears_by_itself_and_leads_to_items(
    page: Page, mill: BrowserSite, evaluator: None
) -> None:
    finished_job(page, mill)
    evaluate(page)
    tile = page.locator("[data-part=metric-rouge_l]")
    expect(tile.get_by_text(f"{ITEMS} scored")).to_be_visible(timeout=30_000)
    expect(page.locator(".gate h3")).to_contain_text("failed")
    page.get_by_role("columnheader", name="rouge_l").get_by_role("link").click()
    expect(page).to_have_url(re.compile(r"metric=rouge_l.*order=score|order=score.*metric=rouge_l"))
    expect(page.locator("th[aria-sort=ascending]")).to_have_text("rouge_l")
    tile.get_by_text("Scores of items").click()
    row = tile.locator("tbody tr").first
    count = int(row.locator("td").last.inner_text())
    row.get_by_role("link").click()
    expect(page.locator(".items tbody tr")).to_have_count(count)
    page.locator(".items tbody a").first.click()
    expect(page.get_by_role("heading", name="Scores")).to_be_visible()


def test_it_works_without_scripts(plain_page: Page, mill: BrowserSite, evaluator: None) -> None:
    finished_job(plain_page, mill)
    evaluate(plain_page)
    tile = plain_page.locator("[data-part=metric-rouge_l]")
    expect(tile.get_by_text(f"{ITEMS} scored")).to_be_visible(timeout=30_000)
    plain_page.get_by_label("below").fill("0.1")
    plain_page.get_by_role("button", name="Find").click()
    expect(plain_page).to_have_url(re.compile(r"below=0\.1"))
