"""The browser's Back button leads through the steps of the submit form, and no window overwrites
another's draft."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.support.spreadsheet import choose, instruct, press

SLOW = 20_000  # ms a step may take beside other tests


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "reviews.csv"
    path.write_text("id,text\n1,one\n2,two\n")
    return path


def test_back_leads_to_the_step_before_with_what_was_typed(page: Page, table: Path) -> None:
    choose(page, table)
    instruct(page)
    press(page, "Preview")
    preview, check = (page.get_by_role("heading", name=name) for name in ("Preview", "Check"))
    expect(preview).to_be_visible(timeout=SLOW)
    press(page, "Check")
    expect(check).to_be_visible(timeout=SLOW)
    instruction = page.get_by_role("textbox", name="Instruction")
    instruction.fill("Say {{text}}")
    page.go_back()
    expect(check).to_have_count(0, timeout=SLOW)
    expect(page.locator(".shown").first).to_contain_text("Say one", timeout=SLOW)
    page.go_back()
    expect(preview).to_have_count(0, timeout=SLOW)
    expect(page.get_by_role("heading", name="Columns")).to_be_focused(timeout=SLOW)
    expect(instruction).to_have_value("Say {{text}}")
    page.go_back()  # before the first step
    expect(page.locator("#stored")).to_contain_text("reviews.csv", timeout=SLOW)
    expect(instruction).to_have_value("Say {{text}}")
    page.go_forward()
    page.go_forward()
    expect(page.locator(".shown").first).to_contain_text("Say one", timeout=SLOW)
    page.reload()
    expect(page.locator(".shown").first).to_contain_text("Say one")
    press(page, "Submit all")
    page.wait_for_url("**/jobs/job_*")
    page.go_back()
    expect(instruction).to_have_value("Say {{text}}")


def test_back_leads_to_the_step_before_without_javascript(plain_page: Page, table: Path) -> None:
    page = plain_page
    page.get_by_label("Or upload a file").set_input_files(table)
    press(page, "Columns")
    instruct(page)
    press(page, "Preview")
    expect(page.get_by_role("heading", name="Preview")).to_be_visible()
    press(page, "Check")
    expect(page.get_by_role("region", name="Check")).to_contain_text("This can be submitted.")
    page.go_back()
    expect(page.get_by_role("region", name="Check")).to_have_count(0)
    expect(page.locator(".shown").first).to_contain_text("Repeat: one")
    page.get_by_role("textbox", name="Instruction").fill("Say {{text}}")
    press(page, "Preview")
    expect(page.locator(".shown").first).to_contain_text("Say one")
    expect(page.locator("#apart")).to_be_hidden()  # it is the same window's


def test_two_windows_keep_what_each_has_typed(page: Page, context: BrowserContext) -> None:
    prompts = page.get_by_label("Prompts to paste")
    prompts.fill("one")
    page.wait_for_url("**/?draft=*", timeout=SLOW)
    other = context.new_page()
    other.goto(page.url)
    prompts.fill("one\ntwo")
    expect(page.locator("#count")).to_contain_text("2 prompts", timeout=SLOW)
    other.get_by_label("Prompts to paste").fill("three")
    expect(other.locator("#apart")).to_be_visible(timeout=SLOW)
    assert other.url != page.url
    for window, text in ((page, "one\ntwo"), (other, "three")):
        window.reload()
        expect(window.get_by_label("Prompts to paste")).to_have_value(text)
