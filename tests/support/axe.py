"""Checks a page with axe-core, and whether it fits the window."""

from __future__ import annotations

from typing import Literal

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page

Theme = Literal["light", "dark"]
THEMES: tuple[Theme, ...] = ("light", "dark")
DESK, PHONE = 1280, 360  # widths of a window, in pixels


def violations(page: Page) -> list[str]:
    """What axe-core finds wrong with the page as it is shown: a line for each rule, with the
    elements that break it."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    found = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
    return [
        f"{rule['id']}: {' | '.join(node['html'][:160] for node in rule['nodes'])}"
        for rule in found
    ]


def excess_width(page: Page) -> int:
    """By how many pixels the page is wider than the window, so that all of it scrolls sideways."""
    return int(page.evaluate("document.documentElement.scrollWidth - innerWidth"))


# Elements that cut off what is in them, sideways, and let nobody scroll to it.
CLIPPED = """() => [...document.querySelectorAll("main *")].filter((element) => {
  const style = getComputedStyle(element);
  return element.scrollWidth > element.clientWidth + 1 && element.clientWidth > 1
    && style.overflowX === "hidden" && style.textOverflow !== "ellipsis";
}).map((element) => element.outerHTML.slice(0, 120))"""


def clipped(page: Page) -> list[str]:
    """The elements whose content is wider than they are and cannot be reached."""
    found: list[str] = page.evaluate(CLIPPED)
    return found
