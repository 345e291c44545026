"""Laws of the lists: jobs and workers, kept true while somebody looks."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from common.store.sessions import Sessions
from tests.support.browser import BrowserSite, Console


def test_the_list_of_jobs_follows_them(page: Page) -> None:
    page.get_by_label("Prompts to paste").fill("\n".join(f"some words {i}" for i in range(80)))
    page.get_by_label("Name of the job").fill("Followed")
    page.get_by_role("button", name="Submit all").click()
    page.wait_for_url("**/jobs/job_*")
    page.get_by_role("link", name="Jobs", exact=True).click()
    row = page.get_by_role("row").filter(has_text="Followed")
    expect(row).to_contain_text("completed", timeout=15_000)
    row.get_by_role("link", name="Followed").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Followed")


def test_the_fleet_is_shown(page: Page) -> None:
    page.get_by_role("link", name="Workers").click()
    expect(page.get_by_role("region", name="Workers", exact=True)).to_contain_text("echo")
    expect(page.get_by_role("region", name="Models", exact=True)).to_contain_text("live")


def test_an_open_page_shows_nothing_more_once_its_session_has_ended(
    page: Page, mill: BrowserSite, console: Console
) -> None:
    page.goto("/jobs")
    tenant = page.locator(".who span").text_content() or ""
    console.expect_status(401)
    Sessions(mill.client).end_sessions(tenant)  # logged out from elsewhere
    expect(page.get_by_role("link", name="Log in")).to_be_visible()
    expect(page.get_by_text(tenant)).to_have_count(0)
