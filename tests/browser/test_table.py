"""A table in, a table out, as somebody does it who has a spreadsheet and no program."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Page, Route, expect

from tests.support.axe import clipped, excess_width, violations

ROWS = 5000
ODD = ["-3", "007", "=1+1", "+886 2", "{{other}}", 'said "so", then\nleft', "東京は、首都", " x "]
PATIENCE = 20_000  # ms that a step over all rows may take beside other tests
FAULTY = 17  # rows whose text makes the engine fail


def frame() -> pd.DataFrame:
    texts = [f"{ODD[i % len(ODD)]} of row {i}" for i in range(ROWS)]
    for row in range(FAULTY):
        texts[row * 250 + 3] = f"boom {row}"
    return pd.DataFrame(
        {
            "": range(ROWS),
            "id": [f"{i:05d}" for i in range(ROWS)],
            "text": texts,
            "reference": [ODD[i % len(ODD)] for i in range(ROWS)],
            "status": ["open"] * ROWS,
            "n": [str(i % 9) for i in range(ROWS)],
            "seed": [f"0{i % 7}" for i in range(ROWS)],
        }
    )


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table") / "客戶 reviews.csv"
    frame().to_csv(path, index=False)
    return path


def choose(page: Page, path: Path) -> None:
    page.goto("/")
    page.get_by_label("Or upload a file").set_input_files(path)
    expect(page.get_by_role("heading", name="Columns")).to_be_visible()


def instruct(page: Page, text: str = "Repeat: ", column: str = "text") -> None:
    page.get_by_role("textbox", name="Instruction").fill(text)
    chips = page.get_by_role("group", name="Insert a column")
    chips.get_by_role("button", name=column, exact=True).click()


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def test_a_table_goes_through_the_form_step_by_step(page: Page, table: Path) -> None:
    choose(page, table)
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
    expect(check).to_contain_text("5,000")
    assert violations(page) == []
    page.reload()
    expect(page.get_by_role("region", name="Check")).to_contain_text("This can be submitted.")
    expect(page.get_by_role("textbox", name="Instruction")).to_have_value("Repeat: {{text}}")
    page.get_by_label("Name of the job").fill("Reviews")
    press(page, "Submit all")
    page.wait_for_url("**/jobs/job_*")
    expect(page.get_by_role("heading", level=1)).to_have_text("Reviews")


def test_the_keyboard_is_enough(page: Page, table: Path) -> None:
    choose(page, table)
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


def test_another_file_is_held_against_the_instruction(
    page: Page, table: Path, tmp_path: Path
) -> None:
    choose(page, table)
    instruct(page)
    other = tmp_path / "other.csv"
    other.write_text("key;body\n1;two\n")
    page.get_by_label("Or another file").set_input_files(other)
    expect(page.locator("#stored")).to_contain_text("cells parted by semicolons")
    press(page, "Preview")
    expect(page.locator("[data-errors='template.text']")).to_contain_text("{{text}}")
    expect(page.locator("[data-errors='template.text']")).to_contain_text("key, body")


def test_what_is_typed_while_a_file_is_sent_stays(page: Page, table: Path) -> None:
    def send_slowly(route: Route) -> None:
        page.wait_for_timeout(400)
        route.continue_()

    page.route("**/", send_slowly, times=1)
    page.get_by_label("Or upload a file").set_input_files(table)
    page.get_by_label("max_tokens").fill("3")
    page.get_by_text("Instruction around each prompt").click()
    page.get_by_role("textbox", name="System message").fill("Be short.")
    expect(page.get_by_role("heading", name="Columns")).to_be_visible()
    expect(page.get_by_label("max_tokens")).to_have_value("3")
    expect(page.get_by_role("textbox", name="System message")).to_have_value("Be short.")


@pytest.mark.parametrize("width", [1280, 360])
def test_the_steps_are_the_same_without_javascript(
    plain_page: Page, table: Path, width: int
) -> None:
    page = plain_page
    page.set_viewport_size({"width": width, "height": 900})
    page.get_by_label("Or upload a file").set_input_files(table)
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
