"""Laws of a page that can no longer be kept true: it says since when, and why."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from common.store.sessions import Sessions
from tests.support.browser import BrowserSite, Console


def follow_job(page: Page, prompts: int = 60) -> None:
    page.get_by_label("Prompts to paste").fill(
        "\n".join(f"so many words that it takes seconds {i}" for i in range(prompts))
    )
    page.get_by_label("Name of the job").fill("Followed")
    page.get_by_role("button", name="Submit all").click()
    page.wait_for_url("**/jobs/job_*")


def banner(page: Page, why: str) -> None:
    said = re.compile(rf"Not updating since \d.*: {why}\.")
    expect(page.get_by_text(said)).to_be_visible(timeout=8000)


def test_offline_is_said_and_taken_back(page: Page, console: Console) -> None:
    console.expected.append("Failed to load resource: net::ERR_INTERNET_DISCONNECTED")
    follow_job(page)
    page.context.set_offline(True)
    banner(page, "offline")
    page.context.set_offline(False)
    expect(page.get_by_text("Not updating")).to_have_count(0)
    expect(page.locator("[data-terminal=yes]")).to_be_visible()


def test_a_job_that_was_deleted_is_said_to_be(
    page: Page, mill: BrowserSite, console: Console
) -> None:
    console.expect_status(404)
    follow_job(page, 300)
    job_id = page.url.rpartition("/")[2]
    page.evaluate("id => fetch(`/v1/jobs/${id}`, {method: 'DELETE'})", job_id)
    banner(page, "deleted")


def test_logged_out_is_said_and_nothing_of_the_tenants_stays(
    page: Page, mill: BrowserSite, console: Console
) -> None:
    console.expect_status(401)
    follow_job(page, 300)
    tenant = page.locator(".who span").text_content() or ""
    Sessions(mill.client).end_sessions(tenant)
    banner(page, "logged out")
    expect(page.get_by_text("Followed")).to_have_count(0)
    expect(page.get_by_text(tenant)).to_have_count(0)
    assert "Followed" not in page.title()


def test_the_title_and_the_icon_of_the_window_show_the_progress(page: Page) -> None:
    follow_job(page)
    expect(page).to_have_title(re.compile(r"^[1-9]\d? % Followed"))
    icon = page.locator("link[rel=icon]")
    expect(icon).to_have_attribute("href", re.compile(r"/icon/running-\d+\.svg"))
    answer = page.request.get(icon.get_attribute("href") or "")
    assert (answer.status, answer.headers["content-type"]) == (200, "image/svg+xml")
    expect(page).to_have_title(re.compile("^✓ Followed"), timeout=20_000)
    expect(icon).to_have_attribute("href", re.compile(r"/icon/completed-100\.svg"))
