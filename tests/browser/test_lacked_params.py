"""Laws of the form's parameters: those that the chosen model lacks are not shown, with and without
scripts, and nothing that was typed is lost or sent unseen."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from common.params import CELLS
from common.store.fleet import Fleet
from tests.support.browser import BrowserSite, Console
from tests.support.lacking import LACKED, lacking

# A parameter of each kind of input, also of the common ones.
NONE_OF_THESE = ("max_tokens", "seed", "ignore_eos", "stop", "logit_bias", *LACKED)


@pytest.fixture(params=["page", "plain_page"], ids=["with scripts", "without scripts"])
def form(request: pytest.FixtureRequest, mill: BrowserSite) -> Page:
    """The form beside two more models, its section of rarer parameters open."""
    without = tuple(name for name in CELLS if name not in NONE_OF_THESE)
    given: dict[str, Any] = {
        "small": {},
        "smaller": {"params": without},
        "all": {"params": CELLS},
        "none": {"params": ()},
    }
    for name, params in given.items():
        Fleet(mill.client).publish(lacking(name, **params), b"")
    page: Page = request.getfixturevalue(request.param)
    page.reload()
    page.locator(".settings summary", has_text="More parameters").click()
    return page


def choose(form: Page, model: str) -> None:
    form.get_by_label("Model", exact=True).select_option(model)


def shown(form: Page) -> list[str]:
    """The parameters that have a visible input."""
    inputs = form.locator(".settings .field:visible :is(input, textarea)").all()
    names = [str(each.get_attribute("name")) for each in inputs]
    return [name.removeprefix("params.") for name in names if name.startswith("params.")]


def field(form: Page, name: str) -> Locator:
    return form.locator(f'[name="params.{name}"]')


def test_what_the_chosen_model_lacks_is_not_shown(form: Page) -> None:
    note = form.locator(".more .lacks")
    for model in ("echo", "all"):
        choose(form, model)
        assert set(shown(form)) == set(CELLS), model
        expect(note).to_be_hidden()
    choose(form, "small")
    assert set(CELLS) - set(shown(form)) == set(LACKED)
    expect(note).to_be_visible()
    choose(form, "smaller")
    assert set(CELLS) - set(shown(form)) == set(NONE_OF_THESE)
    offered = form.locator("#sweep\\.name option").all()
    left = [each for each in offered if each.evaluate("e => getComputedStyle(e).display") == "none"]
    assert {each.get_attribute("data-param") for each in left} == set(NONE_OF_THESE)
    choose(form, "none")
    assert shown(form) == []


def test_what_was_typed_stays_in_sight_until_it_is_taken_out(form: Page) -> None:
    choose(form, "echo")
    field(form, "typical_p").fill("0.9")
    field(form, "stop").fill("x")
    field(form, "logit_bias").fill('{"5": 1}')
    field(form, "ignore_eos").check()
    choose(form, "smaller")
    typed = {"typical_p", "stop", "logit_bias", "ignore_eos"}
    assert set(CELLS) - set(shown(form)) == set(NONE_OF_THESE) - typed
    field(form, "ignore_eos").uncheck()
    field(form, "stop").fill("")
    assert set(CELLS) - set(shown(form)) == set(NONE_OF_THESE) - {"typical_p", "logit_bias"}


def test_a_submit_is_refused_at_the_parameter(form: Page, console: Console) -> None:
    console.expected.append("Failed to load resource: the server responded with a status of 422")
    form.get_by_label("Prompts to paste").fill("one")
    choose(form, "echo")
    field(form, "typical_p").fill("0.9")
    choose(form, "small")
    form.get_by_role("button", name="Submit all").click()
    error = form.locator('[data-errors="params.typical_p"]')
    expect(error).to_contain_text("engine vllm, which runs small, has no typical_p")
    if not field(form, "typical_p").is_visible():  # without scripts the page is a new one
        form.locator(".settings summary", has_text="More parameters").click()
    expect(field(form, "typical_p")).to_have_value("0.9")
    expect(error).to_be_visible()
    field(form, "typical_p").fill("")
    form.get_by_role("button", name="Submit all").click()
    expect(form).to_have_url(re.compile("/jobs/job_"))
