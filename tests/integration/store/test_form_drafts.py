"""Drafts of the form: kept for a day, a few of each tenant, for its own eyes."""

from __future__ import annotations

import os
import zlib

import pytest

from common.errors import NotFound, TooLarge
from common.store import form_drafts, keys
from common.store.form_drafts import AGE, MOST_DRAFTS, FormDraft, FormDrafts
from tests.support.store import Mill

TYPED = {"prompts": "one\n漢字 {{x}} \ud7ff", "params.n": "2", "": ""}


@pytest.fixture
def drafts(mill: Mill) -> FormDrafts:
    return FormDrafts(mill.client)


def test_a_draft_comes_back_as_it_was_typed(drafts: FormDrafts, mill: Mill) -> None:
    draft = drafts.keep("t", TYPED).id
    assert drafts.get("t", draft).typed == TYPED
    assert drafts.keep("t", {"prompts": "two"}, draft).id == draft
    assert drafts.get("t", draft).typed == {"prompts": "two"}
    assert AGE - 5 < mill.client.ttl(keys.form("t", draft)) <= AGE


def test_another_tenants_draft_is_not_found_and_not_changed(drafts: FormDrafts) -> None:
    draft = drafts.keep("t", TYPED).id
    drafts.keep("other", {"prompts": "theirs"}, draft)
    assert drafts.get("t", draft).typed == TYPED
    assert drafts.get("other", draft).typed == {"prompts": "theirs"}


@pytest.mark.parametrize("name", ["", "x", "../../x", "0" * 15, "0" * 17, "t:0", "\n"])
def test_an_id_that_none_can_have_is_not_found_and_gets_another(
    drafts: FormDrafts, name: str
) -> None:
    with pytest.raises(NotFound):
        drafts.get("t", name)
    assert drafts.keep("t", TYPED, name).id != name


def test_the_oldest_draft_makes_room(drafts: FormDrafts, mill: Mill) -> None:
    made = [drafts.keep("t", {"prompts": str(number)}).id for number in range(MOST_DRAFTS)]
    mill.client.zincrby("pm:tenant:t:forms", -1000, made[3])
    other = drafts.keep("other", TYPED).id
    last = drafts.keep("t", TYPED).id
    with pytest.raises(NotFound):
        drafts.get("t", made[3])
    assert drafts.get("t", made[4]).typed == {"prompts": "4"}
    assert drafts.get("t", last).typed == drafts.get("other", other).typed == TYPED
    assert mill.client.zcard("pm:tenant:t:forms") == MOST_DRAFTS


def test_a_draft_has_a_size_that_it_may_have(
    drafts: FormDrafts, mill: Mill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(form_drafts, "MOST_BYTES", 1000)
    with pytest.raises(TooLarge, match="put the prompts into a file"):
        drafts.keep("t", {"prompts": os.urandom(1000).hex()})
    assert mill.client.keys("pm:form:*") == []


def test_a_draft_that_another_page_has_changed_stays_as_it_is(drafts: FormDrafts) -> None:
    first = drafts.keep("t", {"prompts": "one"}, writer="aa")
    seen = first.version
    here = drafts.keep("t", {"prompts": "here"}, first.id, seen=seen, writer="aa")
    # A page need not hear of all that it saved: an answer may be lost.
    again = drafts.keep("t", {"prompts": "here again"}, first.id, seen=seen, writer="aa")
    assert (here.id, again.id, again.apart) == (first.id, first.id, False)
    there = drafts.keep("t", {"prompts": "there"}, first.id, seen=seen, writer="bb")
    assert there.apart and there.id != first.id
    assert drafts.get("t", first.id).typed == {"prompts": "here again"}
    assert drafts.get("t", there.id).typed == {"prompts": "there"}
    newest = drafts.get("t", first.id).version
    opened = drafts.keep("t", {"prompts": "here again"}, first.id, seen=newest, writer="bb")
    assert opened.version == newest  # it was only looked at
    mine = drafts.keep("t", {"prompts": "here"}, first.id, seen=newest, writer="aa")
    newest = mine.version
    assert mine.id == first.id
    taken = drafts.keep("t", {"prompts": "x"}, first.id, seen=newest, writer="bb")
    assert (taken.id, taken.apart) == (first.id, False)


def test_a_draft_of_an_earlier_version_is_read_and_changed(drafts: FormDrafts, mill: Mill) -> None:
    name = "0123456789abcdef"
    mill.client.set(keys.form("t", name), zlib.compress(b'{"prompts": "old"}', 1))
    assert drafts.get("t", name) == FormDraft({"prompts": "old"}, "")
    assert drafts.keep("t", TYPED, name, seen="1234", writer="aa").id == name
    mill.client.unlink(keys.form("t", name), keys.tenant_forms("t"))
