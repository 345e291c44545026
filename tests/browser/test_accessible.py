"""Laws of every page: axe-core finds nothing wrong in either theme, and a phone need not scroll
sideways."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from tests.support.axe import DESK, PHONE, clipped, excess_width, violations
from tests.support.gallery import DOORS, PAGES, Gallery


@pytest.mark.parametrize("name", [*PAGES, *DOORS])
@pytest.mark.parametrize("width", [DESK, PHONE])
def test_axe_finds_nothing(gallery: Gallery, chromium: Browser, name: str, width: int) -> None:
    page = gallery.open(chromium, name, "light", width)
    try:
        found = violations(page)
        page.emulate_media(color_scheme="dark")
        assert (found, violations(page)) == ([], [])
        assert (excess_width(page), clipped(page)) == (0, [])
    finally:
        page.context.close()
