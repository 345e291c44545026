"""Drafts of the form: kept for a day, a few of each tenant, for its own eyes."""

from __future__ import annotations

import os

import pytest

from common.errors import NotFound, TooLarge
from common.store import form_drafts, keys
from common.store.form_drafts import AGE, MOST_DRAFTS, FormDrafts
from tests.support.store import Mill

TYPED = {"prompts": "one\n漢字 {{x}} \ud7ff", "params.n": "2", "": ""}


@pytest.fixture
def drafts(mill: Mill) -> FormDrafts:
    return FormDrafts(mill.client)


def test_a_draft_comes_back_as_it_was_typed(drafts: FormDrafts, mill: Mill) -> None:
    draft = drafts.keep("t", TYPED)
    assert drafts.get("t", draft) == TYPED
    assert drafts.keep("t", {"prompts": "two"}, draft) == draft
    assert drafts.get("t", draft) == {"prompts": "two"}
    assert AGE - 5 < mill.client.ttl(keys.form("t", draft)) <= AGE


def test_another_tenants_draft_is_not_found_and_not_changed(drafts: FormDrafts) -> None:
    draft = drafts.keep("t", TYPED)
    drafts.keep("other", {"prompts": "theirs"}, draft)
    assert drafts.get("t", draft) == TYPED
    assert drafts.get("other", draft) == {"prompts": "theirs"}


@pytest.mark.parametrize("name", ["", "x", "../../x", "0" * 15, "0" * 17, "t:0", "\n"])
def test_an_id_that_none_can_have_is_not_found_and_gets_another(
    drafts: FormDrafts, name: str
) -> None:
    with pytest.raises(NotFound):
        drafts.get("t", name)
    assert drafts.keep("t", TYPED, name) != name


def test_the_oldest_draft_makes_room(drafts: FormDrafts, mill: Mill) -> None:
    made = [drafts.keep("t", {"prompts": str(number)}) for number in range(MOST_DRAFTS)]
    mill.client.zincrby("pm:tenant:t:forms", -1000, made[3])
    other = drafts.keep("other", TYPED)
    last = drafts.keep("t", TYPED)
    with pytest.raises(NotFound):
        drafts.get("t", made[3])
    assert drafts.get("t", made[4]) == {"prompts": "4"}
    assert drafts.get("t", last) == drafts.get("other", other) == TYPED
    assert mill.client.zcard("pm:tenant:t:forms") == MOST_DRAFTS


def test_a_draft_has_a_size_that_it_may_have(
    drafts: FormDrafts, mill: Mill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(form_drafts, "MOST_BYTES", 1000)
    with pytest.raises(TooLarge, match="put the prompts into a file"):
        drafts.keep("t", {"prompts": os.urandom(1000).hex()})
    assert mill.client.keys("pm:form:*") == []
