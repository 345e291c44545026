"""Links and paths in the Markdown files lead to something that exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PATH = re.compile(r"`((?:\.ci|\.github|bench|cli|common|docs|examples|tests|web|worker)/[\w./-]*)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_page_and_a_heading_that_exist(page: Path) -> None:
    broken = []
    for link in LINK.findall(prose(page)):
        place, _, heading = link.partition("#")
        if place.startswith(("http://", "https://", "mailto:")):
            continue
        target = page.parent / place if place else page
        if not target.exists() or (heading and heading not in headings(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    named = {path for path in PATH.findall(prose(page)) if not (ROOT / path).exists()}
    assert named == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_name_that_a_page_finds_in_a_file_is_there(page: Path) -> None:
    text = " ".join(prose(page).split())
    named = [(path, name) for path, name in re.findall(rf"{PATH.pattern} \(`(\w+)`\)", text)]
    named += [(path, name) for name, path in re.findall(rf"`(\w+)` \({PATH.pattern}\)", text)]
    missing = [
        (path, name)
        for path, name in named
        if (ROOT / path).is_file() and name not in (ROOT / path).read_text()
    ]
    assert missing == []


def prose(page: Path) -> str:
    return re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)


def headings(page: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them of its headings."""
    titles = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    kept = (re.sub(r"[^\w\- ]", "", title.lower()) for title in titles)
    return {title.replace(" ", "-") for title in kept}
