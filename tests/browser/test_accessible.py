"""Laws of every page: axe-core finds nothing wrong in either theme, and a phone need not scroll
sideways."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser

from tests.support.axe import COLOURS, DESK, PHONE, clipped, excess_width, violations
from tests.support.gallery import DOORS, PAGES, Gallery
from tests.support.processes import ROOT


@pytest.mark.parametrize("name", [*PAGES, *DOORS])
def test_axe_finds_nothing(gallery: Gallery, chromium: Browser, name: str) -> None:
    page = gallery.open(chromium, name, "light", DESK)
    try:
        for width in (DESK, PHONE):
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme="light")
            found = violations(page)
            page.emulate_media(color_scheme="dark")
            assert (width, found, violations(page, COLOURS)) == (width, [], [])
            assert (width, excess_width(page), clipped(page)) == (width, 0, [])
    finally:
        page.context.close()


def test_the_themes_differ_in_colours_only() -> None:
    """So that in the second theme no rule of axe's need be asked again but those about colours."""
    styles = "".join(path.read_text() for path in sorted((ROOT / "web").rglob("*.css")))
    (dark,) = re.findall(r"prefers-color-scheme[^{]*{\s*:root {(.*?)}\s*}", styles, re.DOTALL)
    assert styles.count("prefers-color-scheme") == 1
    assert re.fullmatch(r"(\s*--[\w-]+: #[0-9a-f]{6};)+\s*", dark)
