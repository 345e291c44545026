"""Raters in a browser: by keys alone, by touch on a phone, and without scripts."""

from __future__ import annotations

import re
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from common.store.api_keys import ApiKeys
from tests.support.axe import PHONE, clipped, excess_width, violations
from tests.support.browser import NO_PROXIES, BrowserSite, Console
from tests.support.waiting import wait_until


class Asker:
    """A tenant who makes studies over the API."""

    def __init__(self, mill: BrowserSite):
        self._mill = mill
        self._key = ApiKeys(mill.client).create_key(mill.new_tenant())

    def call(self, method: str, path: str, **options: Any) -> Any:
        answer = requests.request(
            method,
            self._mill.url + path,
            headers={"Authorization": f"Bearer {self._key}"},
            proxies=NO_PROXIES,
            timeout=30,
            **options,
        )
        assert answer.ok, answer.text
        return answer.json()

    def job(self, *prompts: str) -> str:
        body = {"model": "echo", "prompts": [*prompts], "params": {"max_tokens": 40}}
        job_id = str(self.call("POST", "/v1/jobs", json=body)["id"])
        wait_until(lambda: self.call("GET", f"/v1/jobs/{job_id}?wait=10")["finished_at"])
        return job_id

    def study(self, **wanted: Any) -> str:
        texts = ["Tea was hot.", "The staff were kind, and the parcel came on time.", "Late again."]
        count = 2 if wanted.get("kind", "pairs") == "pairs" else 1
        jobs = [self.job(*texts) for _ in range(count)]
        body = {"jobs": jobs, "kind": "pairs", "criteria": ["fluency"], "raters": 1} | wanted
        return str(self.call("POST", "/v1/studies", json=body)["id"])

    def link(self, study: str) -> str:
        return str(self.call("POST", f"/v1/studies/{study}/raters", json={"name": "Ada"})["url"])

    def votes(self, study: str, criterion: str = "fluency") -> Any:
        return self.call("GET", f"/v1/studies/{study}")["results"][criterion]


@pytest.fixture
def asker(mill: BrowserSite) -> Asker:
    return Asker(mill)


def visit(chromium: Browser, console: Console, link: str, **how: Any) -> Page:
    """The first task, behind the link and its button."""
    context = chromium.new_context(reduced_motion="reduce", **how)
    context.set_default_timeout(10_000)
    context.on("page", console.listen)
    page = context.new_page()
    page.goto(link)
    page.get_by_role("button", name="Start").click()
    expect(page).to_have_url(re.compile(r"/rate$"))
    return page


def so_far(page: Page, done: int, total: int = 3) -> None:
    expect(page.locator(".so-far")).to_contain_text(f"{done} of {total}")
    page.wait_for_load_state()  # keys are listened to


def test_keys_alone_rate_pairs_and_take_back(
    asker: Asker, chromium: Browser, console: Console
) -> None:
    study = asker.study()
    page = visit(chromium, console, asker.link(study))
    so_far(page, 0)
    page.keyboard.press("ArrowLeft")
    so_far(page, 1)
    page.keyboard.press("u")
    so_far(page, 0)
    for done, key in enumerate(("ArrowRight", "ArrowDown", "s"), 1):
        page.keyboard.press(key)
        if done < 3:
            so_far(page, done)
    expect(page.get_by_role("heading", name="Done")).to_be_visible()
    page.wait_for_load_state()
    page.keyboard.press("u")
    so_far(page, 2)
    page.keyboard.press("S")
    expect(page.get_by_role("heading", name="Done")).to_be_visible()
    found = asker.votes(study)
    assert (found["votes"], found["skips"], found["jobs"][0]["ties"]) == (2, 1, 1)
    page.context.close()


def test_keys_answer_several_criteria_one_after_the_other(
    asker: Asker, chromium: Browser, console: Console
) -> None:
    study = asker.study(kind="scale", criteria=["fluency", "truth"])
    page = visit(chromium, console, asker.link(study))
    so_far(page, 0)
    for done in range(1, 4):
        page.keyboard.press("5")
        expect(page.locator("fieldset.now legend")).to_contain_text("truth")
        page.keyboard.press("1")
        if done < 3:
            so_far(page, done)
    expect(page.get_by_role("heading", name="Done")).to_be_visible()
    assert [asker.votes(study, name)["jobs"][0]["mean"] for name in ("fluency", "truth")] == [5, 1]
    page.context.close()


@pytest.mark.parametrize("criteria", [["fluency"], ["fluency", "relevance to what was asked"]])
def test_a_phone_needs_no_scrolling_sideways_and_has_large_buttons(
    asker: Asker, chromium: Browser, console: Console, criteria: list[str]
) -> None:
    study = asker.study(criteria=criteria)
    phone = {"viewport": {"width": PHONE, "height": 740}, "has_touch": True}
    page = visit(chromium, console, asker.link(study), **phone)
    so_far(page, 0)
    assert (excess_width(page), clipped(page), violations(page)) == (0, [], [])
    page.emulate_media(color_scheme="dark")
    assert violations(page) == []
    for button in page.locator(".choice").all():
        box = button.bounding_box()
        assert box and box["height"] >= 44 and box["width"] >= 60
        assert box["y"] + box["height"] <= 740  # under a thumb without scrolling
    for number in range(len(criteria)):
        page.locator("fieldset").nth(number).locator(".choice").first.tap()
    so_far(page, 1)
    page.context.close()


def test_everything_works_without_scripts(
    asker: Asker, chromium: Browser, console: Console
) -> None:
    study = asker.study(criteria=["fluency", "truth"])
    page = visit(chromium, console, asker.link(study), java_script_enabled=False)
    for fieldset, name in ((0, "A"), (1, "Tie")):
        page.locator("fieldset").nth(fieldset).get_by_text(name).click()
    page.get_by_role("button", name="Next").click()
    so_far(page, 1)
    page.get_by_role("button", name="Undo").click()
    so_far(page, 0)
    page.context.close()
