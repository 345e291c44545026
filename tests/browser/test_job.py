"""Laws of the job page: it fills in by itself, hands everything out, and nothing that was said in
it runs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from tests.support.browser import BrowserSite, Console

NASTY = """<script>document.title='owned'</script><img src=x onerror="document.title='owned'">"""
# Notes what the page says of its progress; gone if the page were loaded anew.
WATCH = """() => {
  const live = document.getElementById("live");
  window.seen = [];
  new MutationObserver(() => {
    const said = live.querySelector(".progress-head .num").textContent;
    if (window.seen.at(-1) !== said) window.seen.push(said);
  }).observe(live, {subtree: true, childList: true, characterData: true});
}"""
SOME = (
    "() => { const n = document.querySelectorAll('.items .output .text').length; return n > 0 "
    "&& n < 50; }"
)


def submit(page: Page, prompts: list[str], **fields: str) -> None:
    """Submit by the form and wait for the job's page."""
    page.goto("/")
    page.get_by_label("Prompts to paste").fill("\n".join(prompts))
    for name, value in ({"temperature": "0"} | fields).items():
        page.get_by_label(name, exact=True).fill(value)
    page.get_by_role("button", name="Submit all").click()
    page.wait_for_url("**/jobs/job_*")


def finished(page: Page) -> None:
    expect(page.locator("[data-terminal=yes]")).to_be_visible(timeout=20_000)


def test_items_fill_in_while_the_job_runs(page: Page) -> None:
    submit(
        page,
        [
            f"so many words that all sixty take four seconds, this one being number {i}"
            for i in range(60)
        ],
    )
    page.evaluate(WATCH)
    outputs = page.locator(".items .output .text")
    page.wait_for_function(SOME)
    expect(page.get_by_role("img", name="60 items")).to_be_visible()
    finished(page)
    expect(outputs).to_have_count(50)
    expect(page.get_by_text("60 of 60 done", exact=True)).to_be_visible()
    expect(page.locator("#cancel")).to_be_hidden()
    # Told by the stream: polling would see two or three.
    assert len(page.evaluate("window.seen")) > 3
    page.get_by_role("link", name="2", exact=True).click()
    expect(outputs).to_have_count(10)


def test_clocks_go_on_while_nothing_finishes(page: Page) -> None:
    page.clock.install()
    submit(page, ["one of very many words " * 200])
    clock = page.locator(".facts div", has_text="Running for").locator("dd")
    expect(clock).to_be_visible()
    for _ in range(3):
        shown = clock.inner_text()
        page.clock.fast_forward(6000)
        expect(clock).not_to_have_text(shown, timeout=1000)
    page.locator("#cancel").click()
    page.get_by_role("button", name="Cancel").click()
    finished(page)


def test_the_address_is_permanent_and_private(
    page: Page, chromium: Browser, mill: BrowserSite, console: Console
) -> None:
    submit(page, ["mine"])
    finished(page)
    page.reload()
    expect(page.locator(".items .output .text")).to_have_text("mine")
    console.expect_status(401)
    stranger = chromium.new_context().new_page()
    stranger.goto(page.url)
    expect(stranger.get_by_text("promptmill login", exact=True)).to_be_visible()
    console.expect_status(404)
    stranger.goto(mill.login(mill.new_tenant()))
    stranger.get_by_role("button", name="Log in").click()
    stranger.goto(page.url)
    expect(stranger.get_by_role("heading", name="Not found")).to_be_visible()
    stranger.context.close()


def test_a_script_in_a_prompt_is_text(page: Page) -> None:
    submit(page, [NASTY, "boom " + NASTY], **{"Name of the job": NASTY})
    finished(page)
    assert page.locator(".items .output .text").first.inner_text() == NASTY
    expect(page.get_by_role("heading", level=1)).to_have_text(NASTY)
    for address in (
        page.url,
        page.url + "/items/0",
        page.url + "/items/1",
        "/jobs",
        page.url + "?page=1",
    ):
        response = page.goto(address)
        assert response is not None
        assert response.headers["content-security-policy"].startswith("default-src 'self'")
        assert page.locator("main script, main img, main [style]").count() == 0
        assert "owned" not in page.title().replace(NASTY, "")


def test_white_space_of_an_output_is_kept(page: Page, jsonl: Callable[[list[dict]], Path]) -> None:
    page.get_by_label("Or upload a file").set_input_files(
        jsonl([{"prompt": "if a:\n    b  =  1\n\tc"}])
    )
    page.get_by_role("button", name="Submit all").click()
    page.wait_for_url("**/jobs/job_*")
    assert page.locator(".items .prompt .text").inner_text() == "if a:\n    b  =  1\n\tc"


def test_results_are_downloaded_while_it_runs_and_after(page: Page) -> None:
    submit(page, [f"a few words of item {i}" for i in range(400)])
    expect(page.locator(".items .output .text")).not_to_have_count(0)
    early = [json.loads(line) for line in download(page, "Download JSONL").splitlines()]
    assert 0 < len(early) < 400
    page.locator("#cancel").click()
    page.get_by_role("button", name="Cancel").click()
    finished(page)
    rows = {
        row["index"]: row for row in map(json.loads, download(page, "Download JSONL").splitlines())
    }
    assert all(rows[row["index"]] == row for row in early)
    table = list(csv.DictReader(io.StringIO(download(page, "Download CSV"))))
    assert {int(row["index"]) for row in table} >= set(rows)


def download(page: Page, name: str) -> str:
    with page.expect_download() as caught:
        page.get_by_role("link", name=name).click()
    return caught.value.path().read_text(encoding="utf-8-sig")


def test_cancel_stops_what_is_left(page: Page) -> None:
    submit(page, [f"many words for item number {i}" for i in range(200)])
    page.locator("#cancel").click()
    page.get_by_role("button", name="Cancel").click()
    finished(page)
    expect(page.locator(".progress-head")).to_contain_text("cancelled")
    expect(page.locator(".count.cancelled")).to_be_visible()


def test_a_job_pauses_goes_on_and_lets_its_failures_be_retried(page: Page) -> None:
    submit(page, ["boom", *(f"many words for item number {i}" for i in range(60))])
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("paused", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Pause")).to_have_count(0)
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    # Comes by itself when the job is over.
    page.get_by_role("button", name="Retry failed items").click()
    expect(page.get_by_text("Retries the failed items of")).to_be_visible()
    finished(page)
    expect(page.get_by_text("1 of 1 done", exact=True)).to_be_visible()


def test_a_failed_item_says_why_and_fails_nothing_else(page: Page) -> None:
    submit(page, ["fine", "boom"])
    finished(page)
    expect(page.locator(".items .wrong")).to_contain_text("engine_error")
    expect(page.locator(".progress-head")).to_contain_text("some failed")
    page.get_by_role("link", name="Item 1").click()
    expect(page.locator(".notice.bad")).to_contain_text("engine_error")


def test_a_job_without_a_worker_says_how_to_start_one(page: Page, sleeping_model: str) -> None:
    page.goto("/")
    page.get_by_label("Prompts to paste").fill("hello")
    page.get_by_label("Model", exact=True).select_option(sleeping_model)
    page.get_by_role("button", name="Submit all").click()
    page.wait_for_url("**/jobs/job_*")
    expect(page.get_by_text("Waiting for a worker.")).to_be_visible()
    expect(page.get_by_text("PROMPTMILL_SERVED_NAME=sleepy promptmill worker")).to_be_visible()
