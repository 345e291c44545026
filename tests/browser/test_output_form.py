"""Laws of the form's part Output: what is typed is checked at once, and a schema needs no JSON."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import Locator, Page, expect

from common.store.fleet import Fleet
from tests.support.browser import BrowserSite
from tests.support.gallery_outputs import ABLE


@pytest.fixture
def output(mill: BrowserSite, page: Page) -> Locator:
    """The part, with a model chosen that can do all of it."""
    Fleet(mill.client).publish(ABLE, b"")
    page.reload()
    page.get_by_label("Model", exact=True).select_option(ABLE.id)
    return page.locator(".output")


def choose(output: Locator, kind: str) -> None:
    output.get_by_label("Each text is").select_option(kind)


def errors(output: Locator) -> Locator:
    return output.locator("[data-errors]:not([hidden])")


def schema(output: Locator) -> Locator:
    return output.get_by_label("JSON Schema", exact=True)


def test_a_schema_is_checked_while_it_is_typed_also_without_a_prompt(output: Locator) -> None:
    choose(output, "json_schema")
    expect(errors(output)).to_have_count(0)  # what has not been typed yet is not wrong
    schema(output).fill('{"type": "object", "required": [')
    expect(errors(output)).to_have_text(re.compile("not valid JSON"))
    expect(schema(output)).to_have_attribute("aria-invalid", "true")
    schema(output).fill('{"type": "objekt"}')
    expect(errors(output)).to_contain_text("#/type")
    schema(output).fill('{"type": "object"}')
    expect(output.locator("#output-said")).to_have_text(re.compile("Checked"))
    expect(errors(output)).to_have_count(0)
    expect(schema(output)).not_to_have_attribute("aria-invalid", "true")


def test_an_error_of_the_format_stays_while_prompts_are_typed(page: Page, output: Locator) -> None:
    choose(output, "regex")
    output.get_by_label("Regular expression", exact=True).fill("(")
    expect(errors(output)).to_have_count(1)
    page.get_by_label("Prompts to paste").fill("one\ntwo")
    page.wait_for_timeout(1500)  # ms, in which the form is checked
    expect(errors(output)).to_have_count(1)
    output.get_by_label("Regular expression", exact=True).fill("a")
    expect(page.locator("#count")).to_contain_text("2 prompts")
    expect(errors(output)).to_have_count(0)


def test_only_the_fields_of_the_chosen_kind_are_shown(page: Page, output: Locator) -> None:
    areas = output.locator("textarea:visible")
    expect(areas).to_have_count(0)
    for kind in ("json_schema", "choice", "regex", "grammar"):
        choose(output, kind)
        expect(areas).to_have_count(1)
        expect(areas).to_have_attribute("id", f"params.output.{kind}")
    choose(output, "json")
    expect(areas).to_have_count(0)
    page.get_by_label("Model", exact=True).select_option("echo")
    expect(output.locator(".lacks")).to_be_visible()
    expect(output.get_by_label("Each text is")).to_be_visible()  # or nobody could undo it
    choose(output, "")
    expect(output.get_by_label("Each text is")).to_be_hidden()
    expect(output.get_by_label("Think for at most")).to_be_hidden()


def test_a_list_of_fields_writes_the_schema_by_keyboard(page: Page, output: Locator) -> None:
    choose(output, "json_schema")
    output.locator("summary").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type('the "city"')
    page.keyboard.press("Enter")  # the next field
    page.keyboard.type("people")
    page.keyboard.press("Tab")
    page.keyboard.type("whole")
    page.keyboard.press("Enter")
    page.keyboard.type("kind")
    page.keyboard.press("Tab")
    page.keyboard.type("one of")
    page.keyboard.press("Tab")
    page.keyboard.type("town, village,, town")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")  # not required
    written = json.loads(schema(output).input_value())
    assert list(written["properties"].items()) == [
        ('the "city"', {"type": "string"}),
        ("people", {"type": "integer"}),
        ("kind", {"enum": ["town", "village"]}),
    ]
    assert written["required"] == ['the "city"', "people"]
    expect(output.locator("#output-said")).to_have_text(re.compile("Checked"))
    output.get_by_role("button", name="Remove").nth(1).click()
    assert list(json.loads(schema(output).input_value())["properties"]) == ['the "city"', "kind"]


def test_the_list_is_read_from_the_schema_and_leaves_a_larger_one_alone(output: Locator) -> None:
    choose(output, "json_schema")
    tags = {"type": "array", "items": {"type": "string"}}
    small = {"type": "object", "properties": {"tags": tags}, "additionalProperties": False}
    schema(output).fill(json.dumps(small))
    output.locator("summary").click()
    expect(output.get_by_label("Name", exact=True)).to_have_value("tags")
    expect(output.get_by_label("Type", exact=True)).to_have_value("list")
    expect(output.get_by_label("required")).not_to_be_checked()
    for larger in (
        small | {"title": "Tags"},
        small | {"properties": {"tags": tags | {"minItems": 1}}},
        small | {"additionalProperties": True},
    ):
        schema(output).fill(json.dumps(larger))
        expect(output.locator("#builder-other")).to_be_visible()
        expect(output.get_by_role("button", name="Add a field")).to_be_hidden()
        assert json.loads(schema(output).input_value()) == larger
    schema(output).fill("")
    expect(output.get_by_role("button", name="Add a field")).to_be_visible()


def test_without_scripts_the_check_says_what_the_script_would(
    mill: BrowserSite, plain_page: Page
) -> None:
    Fleet(mill.client).publish(ABLE, b"")
    plain_page.reload()
    output = plain_page.locator(".output")
    expect(output.get_by_label("Each text is")).to_be_hidden()
    plain_page.get_by_label("Model", exact=True).select_option(ABLE.id)
    choose(output, "json_schema")
    expect(output.locator("textarea:visible")).to_have_count(1)
    expect(output.locator("summary")).to_be_hidden()  # the list of fields needs a script
    schema(output).fill('{"type": "objekt"}')
    plain_page.get_by_role("button", name="Check", exact=True).click()
    expect(errors(output)).to_contain_text("#/type")
    expect(schema(output)).to_have_value('{"type": "objekt"}')
    schema(output).fill('{"type": "object"}')
    plain_page.get_by_label("Prompts to paste").fill("one")
    plain_page.get_by_role("button", name="Submit all").click()
    expect(plain_page.locator(".given")).to_contain_text("JSON by a schema")


def test_the_format_is_in_the_draft_that_the_address_names(page: Page, output: Locator) -> None:
    page.get_by_label("Prompts to paste").fill("one")
    choose(output, "choice")
    output.get_by_label("Labels", exact=True).fill("yes\nno")
    output.get_by_label("with the probability").check()
    expect(page).to_have_url(re.compile("draft="))
    page.wait_for_timeout(1000)  # ms, in which the last of it is kept
    page.reload()
    expect(output.get_by_label("Labels", exact=True)).to_have_value("yes\nno")
    expect(output.get_by_label("with the probability")).to_be_checked()
    page.get_by_role("button", name="Check", exact=True).click()
    expect(page.locator(".part-check")).to_contain_text("This can be submitted")
    expect(output.get_by_label("Labels", exact=True)).to_have_value("yes\nno")
