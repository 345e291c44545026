"""Laws of finding items in the browser: in two actions, by keyboard, without losing one's place."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import Page, expect

from tests.support.waiting import wait_until

WORDS = 2000  # 40 seconds of them: the jobs are cancelled as soon as enough was seen
# Submits a job by the API, as the browser's tenant, and answers its id.
SUBMIT = """async (job) => {
  const body = JSON.stringify(job), headers = {"Content-Type": "application/json"};
  const answer = await fetch("/v1/jobs", {method: "POST", body, headers});
  return (await answer.json()).id;
}"""

# Keeps every text that the streamed item shows from now on.
NOTE_TEXTS = """() => {
  window.texts = new Set();
  const note = () => window.texts.add(document.querySelector(".items .said")?.textContent);
  new MutationObserver(note).observe(document.getElementById("live"), {
    subtree: true, childList: true, characterData: true,
  });
}"""


def submit(page: Page, prompts: list[str]) -> None:
    page.goto("/")
    page.get_by_label("Prompts to paste").fill("\n".join(prompts))
    page.get_by_role("button", name="Submit all").click()
    page.wait_for_url("**/jobs/job_*")


def test_an_item_is_reached_in_two_actions(page: Page) -> None:
    submit(page, [f"number {i}" for i in range(120)])
    page.get_by_label("Item", exact=True).fill("107")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Item 107", level=1)).to_be_visible()


def test_failed_items_are_found_looked_at_one_by_one_and_left_again(page: Page) -> None:
    submit(page, [f"boom {i}" if i % 7 == 3 else f"fine {i}" for i in range(30)])
    expect(page.locator("[data-terminal=yes]")).to_be_visible()
    page.get_by_label("State").select_option("failed")
    page.get_by_label("State").press("Tab")
    page.get_by_role("button", name="Find").press("Enter")
    expect(page.locator(".items tbody tr")).to_have_count(4)
    page.get_by_role("link", name="Item 10").click()
    for key, index in (("ArrowRight", 17), ("ArrowRight", 24), ("ArrowLeft", 17)):
        page.wait_for_load_state()
        page.keyboard.press(key)
        expect(page.get_by_role("heading", name=f"Item {index}", level=1)).to_be_visible()
    page.locator("#back").click()
    expect(page).to_have_url(re.compile(r"state=failed.*#item-17$"))
    expect(page.locator(".items tbody tr")).to_have_count(4)


def test_what_is_typed_and_focused_stays_while_the_list_is_refreshed(page: Page) -> None:
    submit(page, [f"many words for item number {i}" for i in range(200)])
    page.get_by_label("Text").type("abc")
    said = page.locator(".progress-head .num").first
    before = said.inner_text()
    expect(said).not_to_have_text(before)
    expect(page.get_by_label("Text")).to_have_value("abc")
    expect(page.get_by_label("Text")).to_be_focused()
    page.request.post(f"{page.url}/cancel")


def test_streamed_text_appears_word_by_word(page: Page) -> None:
    page.goto(f"/jobs/{page.evaluate(SUBMIT, streamed())}")
    said_word_by_word(page)


def test_streamed_text_of_an_item_that_waited_appears_as_well(page: Page) -> None:
    busy = [{"prompt": " ".join(["busy"] * WORDS)}] * 8  # in all slots
    before = page.evaluate(SUBMIT, streamed() | {"items": busy})
    page.goto(f"/jobs/{page.evaluate(SUBMIT, streamed())}")
    expect(page.locator(".count.pending")).to_be_visible()
    page.request.post(f"/jobs/{before}/cancel")
    said_word_by_word(page)


def streamed() -> dict[str, Any]:
    """A job of one long item."""
    return {
        "model": "echo",
        "items": [{"prompt": " ".join(f"w{i}" for i in range(WORDS)), "stream": True}],
        "params": {"max_tokens": WORDS, "temperature": 0},
    }


def said_word_by_word(page: Page) -> None:
    expect(page.locator(".items .said")).to_contain_text("w3 ", timeout=20_000)
    # The page notes each text that it shows, since a busy test could miss some.
    page.evaluate(NOTE_TEXTS)
    # Refreshes come every few seconds while no item ends: all the others came as events.
    wait_until(lambda: page.evaluate("window.texts.size") > 20, "no events came", 30)
    page.request.post(f"{page.url}/cancel")
