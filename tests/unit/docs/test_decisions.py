"""docs/decisions: every number is given once, and every decision says whether it still holds."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).parents[3] / "docs" / "decisions"
PAGES = sorted(FOLDER.glob("[0-9]*.md"))


def test_every_number_is_given_once_and_none_is_left_out() -> None:
    assert [int(page.name[:4]) for page in PAGES] == list(range(1, len(PAGES) + 1))


def test_every_decision_begins_with_its_number_and_a_status_with_a_date() -> None:
    for page in PAGES:
        title, _, status, *_ = page.read_text().splitlines()
        assert title.startswith(f"# {int(page.name[:4])}. "), page.name
        assert re.match(r"Status: (accepted|superseded by) .*\d{4}-\d\d-\d\d", status), page.name


def test_the_index_has_every_decision_with_its_title() -> None:
    index = (FOLDER / "README.md").read_text()
    for page in PAGES:
        title = page.read_text().splitlines()[0].partition(". ")[2]
        assert f"]({page.name}) | {title} |" in index
