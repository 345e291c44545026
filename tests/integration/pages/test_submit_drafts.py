"""Drafts of the form that several windows have open, and what counts as chosen in it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.pages.steps import held, hidden, press, step, stored_files
from tests.support.cards import card
from tests.support.web import Site

TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
APART = 'id="apart" role="status">'


def opened(page: str) -> dict[str, Any]:
    """What a window sends of a page beside what is typed."""
    return {**held(page), **{name: hidden(page, name) for name in ("seen", "token")}}


def test_two_windows_of_one_draft_keep_what_each_has_typed(site: Site) -> None:
    first = step(site, "check", prompts="one")
    other = site.look(f"/?draft={hidden(first, 'draft')}")
    assert APART not in first
    here = step(site, "check", prompts="one\nhere", **opened(first))
    there = step(site, "check", prompts="one\nthere", **opened(other))
    assert APART not in here and APART in there
    assert hidden(here, "draft") == hidden(first, "draft") != hidden(there, "draft")
    for page, word in ((here, "here"), (there, "there")):
        kept = site.look(f"/?draft={hidden(page, 'draft')}")
        assert f"one\n{word}</textarea>" in kept and APART not in kept
    further = step(site, "check", prompts="one\nthere, too", **opened(there))
    assert APART not in further and hidden(further, "draft") == hidden(there, "draft")


def test_a_check_while_typing_says_when_the_draft_has_become_another(site: Site) -> None:
    page = opened(step(site, "check", prompts="one"))
    step(site, "check", prompts="two", **page | {"token": "ab"})

    def check(token: str, prompts: str) -> Any:
        form = {**page, "action": "check", "prompts": prompts, "token": token}
        return site.browser.post("/", data=form, headers={"Accept": "application/json"}).json

    mine, theirs = check("ab", "three"), check("cd", "four")
    assert (mine["draft"], mine["apart"]) == (page["draft"], False)
    assert theirs["apart"] and theirs["draft"] != page["draft"]


def test_a_file_goes_with_the_last_draft_that_has_it(site: Site) -> None:
    first = opened(step(site, "columns", ("t.csv", b"id,text\n1,a\n")))
    step(site, "columns", params__n="2", **first | {"token": "ab"})
    apart = opened(step(site, "columns", params__n="3", **first | {"token": "cd"}))
    assert apart["draft"] != first["draft"] and apart["input_file"] == first["input_file"]
    step(site, "remove", **first | {"token": "ab"})
    assert "t.csv" in site.look(f"/?draft={apart['draft']}") and stored_files(site) == 1
    step(site, "remove", **apart)
    assert stored_files(site) == 0


def test_going_back_before_the_first_step_keeps_the_draft(site: Site) -> None:
    page = opened(step(site, "check", prompts="one"))
    answer = press(site, "back", prompts="one and two", **page)
    assert answer.location == f"/?draft={page['draft']}#data"
    shown = site.look(answer.location)
    assert "one and two</textarea>" in shown and hidden(shown, "step") == ""


def test_a_draft_is_not_shown_as_a_browser_stored_it(site: Site) -> None:
    location = press(site, "check", prompts="one").location
    assert site.browser.get(location).headers["Cache-Control"] == "no-store"


@pytest.fixture
def two_models(site: Site) -> Site:
    """`echo`, which comes first, has chats; `plain` has none."""
    site.services.fleet.publish(card(chat_template=TEMPLATE), b"")
    site.services.fleet.publish(card("plain"), b"")
    return site


def test_prompts_are_continued_by_a_model_without_chats_unless_somebody_chose(
    two_models: Site,
) -> None:
    site = two_models
    page = site.look("/")
    default = hidden(page, "reads.default")
    assert default == "chat"
    as_it_was: dict[str, Any] = {"prompts": "one", "reads": "chat", "reads.default": default}
    page = step(site, "check", model="plain", **as_it_was)
    assert "This can be submitted." in page and hidden(page, "reads.default") == "text"
    assert press(site, "submit", model="plain", **as_it_was).status_code == 303
    page = step(site, "check", model="echo", **as_it_was | {"reads": "text"})
    assert hidden(page, "reads.default") == ""
    page = step(site, "check", model="plain", **as_it_was | {"reads.default": ""})
    assert "has no chat template" in page
