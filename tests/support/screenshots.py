"""`make screenshots`: every page in both themes and at both widths, in `screenshots/`.

Runs a promptmill of its own, with the echo engine. Arguments are names of pages; without any, all.
"""

from __future__ import annotations

import sys
import tempfile
from itertools import product
from pathlib import Path

from tests.support.axe import DESK, PHONE, THEMES
from tests.support.browser import running_site
from tests.support.chromium import find_chromium, started
from tests.support.gallery import DOORS, PAGES, Gallery

FOLDER = Path("screenshots")


def main(names: list[str]) -> int:
    path = find_chromium()
    if not path:
        print("screenshots need Chromium (Debian's package `chromium`)", file=sys.stderr)
        return 1
    FOLDER.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        running_site(Path(folder), echo_delay=0.005) as site,
        started(path) as browser,
    ):
        gallery = Gallery(site)
        for name, theme, width in product(names or [*PAGES, *DOORS], THEMES, (DESK, PHONE)):
            page = gallery.open(browser, name, theme, width)
            picture = FOLDER / f"{name}-{width}-{theme}.png"
            page.screenshot(path=picture, full_page=True)
            page.context.close()
            print(picture)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
