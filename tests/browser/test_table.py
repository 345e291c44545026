"""A table in, a table out, as somebody does it who has a spreadsheet and no program."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Page, Route, expect

from tests.support.axe import clipped, excess_width, violations
from tests.support.browser import BrowserSite, running_site
from tests.support.spreadsheet import FAULTY, choose, compare, frame, instruct, press

PATIENCE = 20_000  # ms that a step over all rows may take beside other tests
FEW = 100  # where the number of rows does not matter


@pytest.fixture(scope="module")
def mill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserSite]:
    """One whose engine takes no time: what is watched here is the table."""
    folder = tmp_path_factory.mktemp("mill")
    with running_site(folder, echo_delay=0, slots=64) as site:
        yield site


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table") / "客戶 reviews.csv"
    frame().to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("short") / "客戶 reviews.csv"
    frame(FEW).to_csv(path, index=False)
    return path


def fails(text: str) -> bool:
    return text.startswith("boom")


def test_a_table_goes_through_the_form_step_by_step(page: Page, short: Path) -> None:
    choose(page, short)
    expect(page.locator("#stored")).to_contain_text("CSV, cells parted by commas, UTF-8, 7 columns")
    expect(page.get_by_label("Your own ids")).to_have_value(":id")
    expect(page.get_by_label("Reference answers")).to_have_value(":reference")
    instruct(page)
    expect(page.get_by_role("textbox", name="Instruction")).to_have_value("Repeat: {{text}}")
    page.get_by_label("max_tokens").fill("3")
    page.get_by_label("temperature", exact=True).fill("0")
    press(page, "Preview")
    expect(page.locator(".shown").first).to_contain_text("Repeat: -3 of row 0")
    expect(page.locator(".shown").first).to_contain_text("5 tokens")
    press(page, "Check")
    check = page.get_by_role("region", name="Check")
    expect(check).to_contain_text("This can be submitted.", timeout=PATIENCE)
    expect(check).to_contain_text(f"{FEW}")
    assert violations(page) == []
    page.reload()
    expect(page.get_by_role("region", name="Check")).to_contain_text("This can be submitted.")
    expect(page.get_by_role("textbox", name="Instruction")).to_have_value("Repeat: {{text}}")
    page.get_by_label("Name of the job").fill("Reviews")
    press(page, "Submit all")
    page.wait_for_url("**/jobs/job_*")
    expect(page.get_by_role("heading", level=1)).to_have_text("Reviews")


def test_a_table_comes_back_with_nothing_lost(page: Page, table: Path) -> None:
    choose(page, table)
    instruct(page)
    page.get_by_label("temperature", exact=True).fill("0")
    press(page, "Submit all")
    page.wait_for_url("**/jobs/job_*")
    job = page.url
    expect(page.locator("[data-terminal=yes]")).to_be_visible(timeout=3 * PATIENCE)
    page.get_by_role("link", name=f"{FAULTY} failed").click()
    rows = page.locator("table.items tbody tr")
    expect(rows).to_have_count(FAULTY)
    expect(rows.first).to_contain_text("boom 0")
    press(page, "Retry failed items")
    expect(page.get_by_text("Retries the failed items of")).to_be_visible()
    expect(page.locator("[data-terminal=yes]")).to_be_visible(timeout=PATIENCE)
    page.goto(job)
    with page.expect_download() as caught:
        page.get_by_role("link", name="Download CSV").click()
    compare(
        pd.read_csv(caught.value.path(), dtype=str, keep_default_na=False),
        frame(),
        guarded=True,
        fails=fails,
    )
    exact = page.context.request.get(f"{caught.value.url}&guard=0").body()
    compare(
        pd.read_csv(io.BytesIO(exact), dtype=str, keep_default_na=False),
        frame(),
        guarded=False,
        fails=fails,
    )
    # Item 4321 in two actions: its number, and Enter.
    page.get_by_label("Item", exact=True).fill("4321")
    page.keyboard.press("Enter")
    expect(page.get_by_text("04321", exact=True).first).to_be_visible()
    page.goto(job)
    page.get_by_role("link", name="Run again").click()
    expect(page.locator("#stored")).to_contain_text("The 5,000 items of")
    press(page, "Submit all")
    page.wait_for_url(lambda url: "/jobs/job_" in url and url != job, timeout=PATIENCE)
    expect(page.get_by_text("Runs items again of")).to_be_visible()
    expect(page.locator(".progress-head")).to_contain_text("of 5,000")


def test_the_keyboard_is_enough(page: Page, short: Path) -> None:
    choose(page, short)
    expect(page.get_by_role("heading", name="Columns")).to_be_focused()
    instruction = page.get_by_role("textbox", name="Instruction")
    for _ in range(40):
        if instruction.evaluate("field => field === document.activeElement"):
            break
        page.keyboard.press("Tab")
    page.keyboard.type("Say {{text}}")
    name = page.get_by_label("Name of the job")
    name.focus()
    for heading in ("Preview", "Check"):
        page.keyboard.press("Enter")
        there = page.get_by_role("heading", name=heading, exact=True)
        expect(there).to_be_focused(timeout=PATIENCE)
        name.focus()
    expect(instruction).to_have_value("Say {{text}}")
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs/job_*")


def test_the_preview_follows_the_instruction_and_a_check_is_forgotten(
    page: Page, short: Path
) -> None:
    choose(page, short)
    instruct(page)
    press(page, "Check")
    expect(page.get_by_role("region", name="Check")).to_contain_text(f"{FEW}")
    instruction = page.get_by_role("textbox", name="Instruction")
    instruction.fill("Say it again: {{text}}")
    expect(page.locator(".shown").first).to_contain_text("Say it again: -3 of row 0")
    expect(page.get_by_role("region", name="Check")).to_have_count(0)
    expect(instruction).to_be_focused()
    instruction.fill("Say {{txt}}")
    expect(page.locator("[data-errors='template.text']")).to_contain_text("{{txt}}")
    expect(instruction).to_have_attribute("aria-invalid", "true")


def test_three_temperatures_are_compared(page: Page, short: Path) -> None:
    choose(page, short)
    instruct(page)
    page.get_by_text("Several values side by side").click()
    page.get_by_label("Parameter", exact=True).select_option("temperature")
    page.get_by_label("Its values").fill("0\n0.7\n1.3")
    press(page, "Submit all")
    page.wait_for_url("**/sweeps/sweep_*")
    for value in ("0.0", "0.7", "1.3"):
        expect(page.get_by_text(value, exact=True).first).to_be_visible()


def test_another_file_is_held_against_the_instruction(
    page: Page, short: Path, tmp_path: Path
) -> None:
    choose(page, short)
    instruct(page)
    other = tmp_path / "other.csv"
    other.write_text("key;body\n1;two\n")
    page.get_by_label("Or another file").set_input_files(other)
    expect(page.locator("#stored")).to_contain_text("cells parted by semicolons")
    press(page, "Preview")
    expect(page.locator("[data-errors='template.text']")).to_contain_text("{{text}}")
    expect(page.locator("[data-errors='template.text']")).to_contain_text("key, body")


def test_what_is_typed_while_a_file_is_sent_stays(page: Page, short: Path) -> None:
    def send_slowly(route: Route) -> None:
        page.wait_for_timeout(400)
        route.continue_()

    page.route("**/", send_slowly, times=1)
    page.get_by_label("Or upload a file").set_input_files(short)
    page.get_by_label("max_tokens").fill("3")
    page.get_by_text("Instruction around each prompt").click()
    page.get_by_role("textbox", name="System message").fill("Be short.")
    expect(page.get_by_role("heading", name="Columns")).to_be_visible()
    expect(page.get_by_label("max_tokens")).to_have_value("3")
    expect(page.get_by_role("textbox", name="System message")).to_have_value("Be short.")


@pytest.mark.parametrize("width", [1280, 360])
def test_the_steps_are_the_same_without_javascript(
    plain_page: Page, short: Path, width: int
) -> None:
    page = plain_page
    page.set_viewport_size({"width": width, "height": 900})
    page.get_by_label("Or upload a file").set_input_files(short)
    press(page, "Columns")
    expect(page.get_by_label("Your own ids")).to_have_value(":id")
    instruct(page, "Repeat: ", "text")
    expect(page.get_by_role("textbox", name="Instruction")).to_have_value("Repeat: {{text}}")
    page.get_by_label("temperature", exact=True).fill("0")
    page.get_by_label("Name of the job").press("Enter")
    expect(page.get_by_role("heading", name="Preview")).to_be_visible()
    page.get_by_label("Name of the job").press("Enter")
    expect(page.get_by_role("region", name="Check")).to_contain_text("This can be submitted.")
    assert (excess_width(page), clipped(page)) == (0, [])
    press(page, "Submit all")
    page.wait_for_url(re.compile("/jobs/job_"))
