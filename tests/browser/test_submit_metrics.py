"""Laws of the form's part Scores: a preset ticks its metrics, and what is ticked scores the job."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page, Route, expect

from tests.support.browser import Console


def scores(page: Page) -> Locator:
    return page.locator("[data-part=scores]")


def box(page: Page, name: str) -> Locator:
    return scores(page).get_by_role("checkbox", name=name, exact=True)


def test_a_preset_ticks_its_metrics_which_can_be_changed(page: Page) -> None:
    expect(box(page, "chrf")).to_be_hidden()
    page.get_by_label("Start from").select_option("translate")
    expect(box(page, "chrf")).to_be_checked()
    expect(box(page, "bleu")).to_be_checked()
    box(page, "bleu").uncheck()
    page.get_by_label("Start from").select_option("summarise")
    expect(box(page, "rouge_l")).to_be_checked()
    expect(box(page, "chrf")).not_to_be_checked()


def test_an_error_opens_the_part_and_is_gone_when_it_is_mended(
    page: Page, console: Console
) -> None:
    console.expect_status(422)
    page.get_by_label("Prompts to paste").fill("one")
    scores(page).locator("summary").click()
    box(page, "perplexity").check()
    scores(page).locator("summary").click()
    page.get_by_role("button", name="Submit all").click()
    said = scores(page).locator("[data-errors='metrics.perplexity']")
    expect(said).to_contain_text("Type 0 for logprobs")
    box(page, "perplexity").uncheck()
    expect(said).to_be_hidden()


def test_ticked_metrics_score_the_job_without_scripts(plain_page: Page, evaluator: None) -> None:
    page = plain_page
    page.get_by_label("Prompts to paste").fill("one two\nthree")
    scores(page).locator("summary").click()
    box(page, "length_chars").check()
    page.get_by_role("button", name="Check", exact=True).click()
    expect(box(page, "length_chars")).to_be_checked()
    page.get_by_role("button", name="Submit all").click()
    page.wait_for_url(re.compile("/jobs/job_"))
    expect(page.locator("[data-part=metric-length_chars]")).to_be_visible(timeout=30_000)


def test_boxes_that_are_ticked_while_a_step_is_done_stay_so(page: Page) -> None:
    page.get_by_label("Prompts to paste").fill("one")
    scores(page).locator("summary").click()
    box(page, "chrf").check()
    held: list[Route] = []
    released: list[bool] = []

    def hold(route: Route) -> None:
        if route.request.method == "POST" and not released:
            held.append(route)
        else:
            route.continue_()

    page.route("**/*", hold)
    page.get_by_role("button", name="Preview").click()
    expect(page.locator("#count")).to_have_text("Working…")
    box(page, "bleu").check()
    box(page, "chrf").uncheck()
    released.append(True)
    for route in held:
        route.continue_()
    expect(page.locator(".part-preview")).to_be_visible()
    expect(box(page, "bleu")).to_be_checked()
    expect(box(page, "chrf")).not_to_be_checked()
