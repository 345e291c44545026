"""The page of a sweep in a browser: it fills in by itself, and works without scripts."""

from __future__ import annotations

from typing import Any

import requests
from playwright.sync_api import Browser, BrowserContext, expect

from common.store.api_keys import ApiKeys
from tests.support.browser import NO_PROXIES, BrowserSite, Console


def sweep(mill: BrowserSite, chromium: Browser, **options: Any) -> tuple[BrowserContext, str]:
    """A browser that is logged in, and the path of a sweep of its tenant that takes seconds."""
    tenant = mill.new_tenant()
    body: Any = {
        "prompts": [f"w{i} of some words of a text" for i in range(12)],
        "model": "echo",
        "params": {"max_tokens": 40, "ignore_eos": True},
        "sweep": {"temperature": [0, 0.5, 1]},
    }
    headers = {"Authorization": f"Bearer {ApiKeys(mill.client).create_key(tenant)}"}
    made = requests.post(
        f"{mill.url}/v1/sweeps", json=body, headers=headers, proxies=NO_PROXIES, timeout=30
    )
    context = chromium.new_context(base_url=mill.url, **options)
    context.set_default_timeout(20_000)
    context.add_cookies([mill.session(tenant)])
    return context, f"/sweeps/{made.json()['id']}"


def test_the_page_fills_in_while_it_is_open_and_keeps_what_is_typed(
    mill: BrowserSite, chromium: Browser, console: Console
) -> None:
    context, path = sweep(mill, chromium)
    try:
        context.on("page", console.listen)
        page = context.new_page()
        page.goto(path)
        expect(page.get_by_role("button", name="Cancel all jobs")).to_be_visible()
        row = page.get_by_label("Row", exact=True)
        row.fill("7")
        heading = page.locator("#progress-title")
        expect(heading).to_have_text("completed", timeout=60_000)
        expect(row).to_have_value("7")
        expect(row).to_be_focused()
        expect(page.locator(".answers .text")).to_have_count(9)
        row.press("Enter")
        expect(page.locator("#row-7")).to_be_visible()
    finally:
        context.close()


def test_without_scripts_all_jobs_are_cancelled_by_the_button(
    mill: BrowserSite, chromium: Browser
) -> None:
    context, path = sweep(mill, chromium, java_script_enabled=False)
    try:
        page = context.new_page()
        page.goto(path)
        page.get_by_role("button", name="Cancel all jobs").click()
        expect(page.get_by_role("button", name="Cancel all jobs")).to_have_count(0)
        page.get_by_role("link", name="Job 3").click()
        expect(page.get_by_role("link", name="a sweep")).to_have_attribute("href", path)
    finally:
        context.close()
