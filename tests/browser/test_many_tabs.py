"""Laws of many open pages: a browser has six connections to a server, and pages that follow jobs
leave some of them."""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.support.browser import BrowserSite

# A page that is in view for as long as it is open, or in the background.
VIEW = """
Object.defineProperty(document, "hidden", {get: () => HIDDEN});
document.addEventListener("visibilitychange", (event) => event.stopImmediatePropagation(), true);
"""


def submit_long_job(context: BrowserContext) -> str:
    """The address of a job that runs for a while."""
    page = context.new_page()
    page.goto("/")
    page.get_by_label("Prompts to paste").fill("one of very many words " * 500)
    page.get_by_label("max_tokens", exact=True).fill("2500")
    page.get_by_role("button", name="Submit all").click()
    page.wait_for_url("**/jobs/job_*")
    address = page.url
    page.close()
    return address


@pytest.mark.parametrize("seen", [True, False], ids=["in windows", "in background tabs"])
def test_the_eighth_page_loads_beside_seven_that_follow_a_job(
    context: BrowserContext, mill: BrowserSite, seen: bool
) -> None:
    address = submit_long_job(context)
    context.add_init_script(VIEW.replace("HIDDEN", "false" if seen else "true"))
    for _ in range(7):
        context.new_page().goto(address, wait_until="commit")
    for page in context.pages:
        page.wait_for_load_state(timeout=5000)
    page = context.new_page()
    page.goto("/workers", timeout=5000)
    expect(page.get_by_role("region", name="Workers", exact=True)).to_contain_text("echo")
    page.request.post(f"{address}/cancel")


def test_a_page_takes_the_place_of_one_that_was_closed(context: BrowserContext) -> None:
    address = submit_long_job(context)
    context.add_init_script(VIEW.replace("HIDDEN", "false"))
    pages = [context.new_page() for _ in range(4)]
    for page in pages:
        page.goto(address)
    waiting = pages[-1]
    waiting.wait_for_timeout(300)
    with waiting.expect_request("**/events?**", timeout=5000):
        for page in pages[:3]:
            page.close()
    waiting.request.post(f"{address}/cancel")
