"""From a schema typed into the form to a table of fields, as somebody does it who has no program:
with a real engine, on a small random model."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.support.axe import violations
from tests.support.browser import BrowserSite, Console, running_site
from tests.support.byte_models import build_byte_model

PATIENCE = 60_000  # ms that the model may take beside other tests
SCHEMA = """{
  "type": "object",
  "properties": {"mood": {"enum": ["glad", "=sad"]}, "sure": {"type": "boolean"}},
  "required": ["mood", "sure"],
  "additionalProperties": false
}"""


@pytest.fixture(scope="module")
def mill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserSite]:
    """One whose only worker has a model that can be held to formats."""
    model = build_byte_model(tmp_path_factory.mktemp("models") / "bytes")
    folder = tmp_path_factory.mktemp("mill")
    with running_site(folder, model=model, dtype="float32", device="cpu", slots=8) as site:
        yield site


def finish(page: Page) -> None:
    """Submit, and wait for the job's end on its page."""
    page.get_by_role("button", name="Submit all").click()
    page.wait_for_url("**/jobs/job_*")
    expect(page.locator("[data-terminal=yes]")).to_be_visible(timeout=PATIENCE)


def test_a_schema_typed_wrong_then_right_ends_in_columns_of_a_file(
    page: Page, console: Console
) -> None:
    console.expect_status(422)
    page.get_by_label("Prompts to paste").fill("one\ntwo\nthree")
    page.get_by_label("Each text is").select_option("json_schema")
    schema = page.get_by_label("JSON Schema", exact=True)
    schema.fill(SCHEMA.replace('"boolean"', '"bool"'))
    wrong = page.locator(".output [data-errors]:not([hidden])")
    expect(wrong).to_contain_text("#/properties/sure/type")
    page.get_by_role("button", name="Submit all").click()
    expect(schema).to_be_focused()  # nothing was submitted
    schema.fill(SCHEMA)
    expect(page.locator("#output-said")).to_contain_text("Checked")
    finish(page)
    table = page.locator("table.items")
    heads = [text.strip() for text in table.locator("th").all_inner_texts()]
    assert heads == ["#", "Prompt", "mood", "sure", "State"]
    shown = [
        [cell.inner_text() for cell in row.locator("td.parsed").all()]
        for row in table.locator("tbody tr").all()
    ]
    assert len(shown) == 3
    assert all(mood in ("glad", "=sad") and sure in ("true", "false") for mood, sure in shown)
    assert violations(page) == []
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV with fields").click()
    with Path(download.value.path()).open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    fields = [[row["output.mood"].lstrip("'"), row["output.sure"]] for row in rows]
    assert fields == shown
    table.get_by_role("link", name="Item 1").click()
    text = page.locator("pre.json").inner_text()
    assert list(json.loads(text)) == ["mood", "sure"] and text.count("\n") == 3


def test_run_again_has_the_same_format_in_the_form(page: Page) -> None:
    page.get_by_label("Prompts to paste").fill("one")
    page.get_by_label("Each text is").select_option("regex")
    page.get_by_label("Regular expression", exact=True).fill("[ab]{3}<b>")
    finish(page)
    first = page.locator("td.output .text").inner_text()
    assert re.fullmatch("[ab]{3}<b>", first)
    page.get_by_role("link", name="Run again…").click()
    expect(page.get_by_label("Regular expression", exact=True)).to_have_value("[ab]{3}<b>")
    page.get_by_label("Regular expression", exact=True).fill("c{4}")
    finish(page)
    assert page.locator("td.output .text").inner_text() == "cccc"


def test_a_choice_is_shown_with_its_probabilities(page: Page) -> None:
    page.get_by_label("Prompts to paste").fill("one\ntwo")
    page.get_by_label("Each text is").select_option("choice")
    page.get_by_label("Labels", exact=True).fill("yes\nyesterday\nno")
    page.get_by_label("with the probability").check()
    expect(page.locator("#output-said")).to_contain_text("Checked")
    finish(page)
    expect(page.locator("td.output .after").first).to_contain_text("%")
    page.get_by_role("link", name="Item 0").click()
    scores = page.locator("table.scores")
    expect(scores.locator("tbody tr")).to_have_count(3)  # the page is there, too
    labels = scores.locator("tbody tr td:first-child").all_inner_texts()
    assert sorted(label.strip() for label in labels) == ["no", "yes", "yesterday"]
    shares = scores.locator("tbody tr td:nth-child(2)").all_inner_texts()
    assert abs(sum(float(share.removesuffix(" %")) for share in shares) - 100) < 0.2
