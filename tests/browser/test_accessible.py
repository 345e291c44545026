"""Laws of every page: axe-core finds nothing wrong in either theme, and a phone need not scroll
sideways."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from tests.support.axe import DESK, PHONE, clipped, excess_width, violations
from tests.support.gallery import DOORS, PAGES, Gallery


@pytest.mark.parametrize("name", [*PAGES, *DOORS])
def test_axe_finds_nothing(gallery: Gallery, chromium: Browser, name: str) -> None:
    page = gallery.open(chromium, name, "light", DESK)
    try:
        for width in (DESK, PHONE):
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme="light")
            found = violations(page)
            page.emulate_media(color_scheme="dark")
            assert (width, found, violations(page)) == (width, [], [])
            assert (width, excess_width(page), clipped(page)) == (width, 0, [])
    finally:
        page.context.close()
