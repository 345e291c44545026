"""Laws of the pages without JavaScript: submit, view and download work; pages that wait load
themselves anew."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.support.browser import BrowserSite, Console


def test_submit_view_and_download(plain_page: Page) -> None:
    page = plain_page
    page.get_by_label("Prompts to paste").fill(
        "\n".join(f"a few words of item {i}" for i in range(30))
    )
    page.get_by_label("temperature").fill("0")
    page.get_by_role("button", name="Submit all").click()
    page.wait_for_url("**/jobs/job_*")
    expect(page.locator("[data-terminal=yes]")).to_be_visible(timeout=15_000)  # by reloading
    assert page.locator(".items .output .text").count() == 30
    with page.expect_download() as caught:
        page.get_by_role("link", name="Download JSONL").click()
    rows = [json.loads(line) for line in caught.value.path().read_text().splitlines()]
    assert {row["index"]: row["outputs"][0]["text"] for row in rows}[7] == "a few words of item 7"


def test_errors_come_back_next_to_their_fields_with_what_was_typed(
    plain_page: Page, console: Console
) -> None:
    console.expect_status(422)
    page = plain_page
    page.get_by_label("Prompts to paste").fill("\nhello\n  there")
    page.get_by_text("More parameters").click()
    page.get_by_label("min_p").fill("7")
    page.get_by_label("temperature").fill("warm")
    page.get_by_role("button", name="Submit all").click()
    expect(page.get_by_text("Nothing was submitted")).to_be_visible()
    expect(page.locator("[id='params.min_p-errors']")).to_have_text("must be at most 1, not 7")
    expect(page.locator("[id='params.temperature-errors']")).to_contain_text(
        "“warm” is not a number"
    )
    expect(page.get_by_label("temperature")).to_have_value("warm")
    expect(page.get_by_label("Prompts to paste")).to_have_value("\nhello\n  there")


def test_trying_opens_a_page_of_its_own_and_keeps_the_form(
    plain_page: Page, jsonl: Callable[[list[dict]], Path]
) -> None:
    page = plain_page
    page.get_by_label("Or upload a file").set_input_files(
        jsonl([{"prompt": f"number {i}"} for i in range(5)])
    )
    with page.context.expect_page() as opened:
        page.get_by_role("button", name="Try the first 3").click()
    # Playwright turns scripts off in a window that a page opens only after that has begun to load:
    # sometimes too late, and then `<noscript>` with the refresh inside was read as text.
    opened.value.wait_for_url("**/jobs/job_*")
    opened.value.reload()
    expect(opened.value.locator("[data-terminal=yes]")).to_be_visible(timeout=15_000)
    assert opened.value.locator(".items .output .text").count() == 3
    page.get_by_role("button", name="Submit all").click()  # the file is still chosen
    page.wait_for_url("**/jobs/job_*")
    expect(page.get_by_text("of 5 done")).to_be_visible()


def test_cancel_is_a_form(plain_page: Page) -> None:
    page = plain_page
    page.get_by_label("Prompts to paste").fill(
        "\n".join(f"many words for item number {i}" for i in range(200))
    )
    page.get_by_role("button", name="Submit all").click()
    page.locator("#cancel").click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("[data-terminal=yes]")).to_be_visible(timeout=15_000)
    expect(page.locator(".count.cancelled")).to_be_visible()


def test_pause_resume_and_retry_are_forms(plain_page: Page) -> None:
    page = plain_page
    page.get_by_label("Prompts to paste").fill(
        "boom\n" + "\n".join(f"a few words of item {i}" for i in range(60))
    )
    page.get_by_role("button", name="Submit all").click()
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("paused", exact=True)).to_be_visible()
    page.get_by_role("button", name="Resume").click()
    page.get_by_role("button", name="Retry failed items").click(timeout=20_000)
    expect(page.get_by_text("Retries the failed items of")).to_be_visible()
    expect(page.get_by_text("of 1 done")).to_be_visible()
    page.get_by_role("link", name="job_").click()
    expect(page.get_by_text("Its failed items are retried by")).to_be_visible()


def test_an_address_with_nothing_there_is_a_page(plain_page: Page, console: Console) -> None:
    console.expect_status(404)
    plain_page.goto("/nothing")
    expect(plain_page.get_by_text("Not found")).to_be_visible()


def test_a_login_link_works_once(plain_page: Page, mill: BrowserSite, console: Console) -> None:
    page = plain_page
    page.get_by_role("button", name="Log out", exact=True).click()
    expect(page.get_by_text("promptmill login", exact=True)).to_be_visible()
    link = mill.login(mill.new_tenant())
    page.goto(link)
    page.goto(link)  # looking uses nothing up
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_label("Prompts to paste")).to_be_visible()
    console.expect_status(401)
    page.goto(link)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("used already")
