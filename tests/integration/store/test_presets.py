"""Presets in the store: versions that never change, numbers that are given once, and limits."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from common.errors import Conflict, NotFound, StorageFull
from common.store import presets as module
from common.store.admission import Admission
from common.store.presets import MOST_PRESETS, MOST_VERSIONS, Presets
from tests.support.store import Mill


@pytest.fixture
def presets(mill: Mill) -> Presets:
    return Presets(mill.client)


def body(title: str = "Summarise", size: int = 0) -> dict[str, Any]:
    return {"task": "summarise", "title": title, "template": {"prompt": "x" * size + "{{text}}"}}


def numbers(presets: Presets, name: str) -> list[int]:
    return [each.version for each in presets.get("t", name).versions]


def test_a_version_says_what_it_said_when_it_was_made(presets: Presets) -> None:
    assert presets.put("t", "mine", body("one")) == 1
    assert presets.put("t", "mine", body("two")) == 2
    assert presets.body("t", "mine", 1) == body("one")
    assert presets.body("t", "mine", 2) == body("two")
    assert [each.title for each in presets.get("t", "mine").versions] == ["one", "two"]


def test_the_same_content_again_makes_no_version(presets: Presets) -> None:
    presets.put("t", "mine", body("one"))
    assert presets.put("t", "mine", body("one")) == 1
    presets.put("t", "mine", body("two"))
    assert presets.put("t", "mine", body("one")) == 3


def test_another_tenants_preset_is_not_found_nor_deleted(presets: Presets) -> None:
    presets.put("t", "mine", body())
    for read in (
        lambda: presets.get("other", "mine"),
        lambda: presets.body("other", "mine", 1),
    ):
        with pytest.raises(NotFound):
            read()
    assert not presets.delete("other", "mine")
    assert list(presets.all("other")) == []
    assert numbers(presets, "mine") == [1]


def test_deleting_a_version_leaves_the_others(presets: Presets) -> None:
    for title in ("one", "two", "three"):
        presets.put("t", "mine", body(title))
    assert presets.delete("t", "mine", 3)
    assert numbers(presets, "mine") == [1, 2]
    with pytest.raises(NotFound):
        presets.body("t", "mine", 3)
    assert not presets.delete("t", "mine", 3)


def test_a_number_is_never_given_again(presets: Presets) -> None:
    for title in ("one", "two"):
        presets.put("t", "mine", body(title))
    presets.delete("t", "mine", 2)
    assert presets.put("t", "mine", body("three")) == 3
    presets.delete("t", "mine")
    assert presets.put("t", "mine", body("one")) == 4


def test_numbers_stay_unique_when_more_names_were_deleted_than_are_remembered(
    presets: Presets, mill: Mill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_USED", 2)
    for title in ("one", "two"):
        presets.put("t", "a", body(title))
    presets.delete("t", "a")
    for name in "bcd":
        presets.put("t", name, body())
        presets.delete("t", name)
    assert presets.put("t", "a", body("three")) > 2
    assert mill.client.hlen("pm:presets:t:used") <= 3


def test_a_preset_that_is_gone_leaves_only_its_number(
    presets: Presets, mill: Mill, key_snapshot: Callable[[], set[str]]
) -> None:
    before = key_snapshot()
    presets.put("t", "mine", body("one"))
    presets.put("t", "mine", body("two"))
    presets.delete("t", "mine")
    assert key_snapshot() - before == {"pm:presets:t:used"}
    assert mill.client.hgetall("pm:presets:t:used") == {b"mine": b"2"}
    assert Admission(mill.client).stored("t") == 0


def test_one_more_than_the_most_presets_is_refused(presets: Presets) -> None:
    for number in range(MOST_PRESETS):
        presets.put("t", f"p{number}", body())
    with pytest.raises(Conflict, match="100 presets") as refused:
        presets.put("t", "more", body())
    assert refused.value.code == "too_many_presets"
    assert presets.put("t", "p0", body("another")) == 2, "a version of one is none more"
    presets.put("other", "more", body())
    presets.delete("t", "p1")
    presets.put("t", "more", body())


def test_one_more_than_the_most_versions_is_refused(presets: Presets) -> None:
    for number in range(MOST_VERSIONS):
        presets.put("t", "mine", body(str(number)))
    with pytest.raises(Conflict, match="50 versions") as refused:
        presets.put("t", "mine", body("more"))
    assert refused.value.code == "too_many_versions"
    presets.delete("t", "mine", 7)
    assert presets.put("t", "mine", body("more")) == MOST_VERSIONS + 1


def test_presets_count_among_what_a_tenant_keeps(presets: Presets, mill: Mill) -> None:
    presets.put("t", "mine", body(size=5000))
    stored = Admission(mill.client).stored("t")
    assert stored > 0
    with pytest.raises(StorageFull):
        presets.put("t", "more", body("Another", 5000), most_stored=2 * stored - 1)
    with pytest.raises(NotFound):
        presets.get("t", "more")
    presets.delete("t", "mine")
    assert Admission(mill.client).stored("t") == 0


def test_presets_made_at_once_get_a_number_each(presets: Presets) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda i: presets.put("t", "mine", body(f"{i}")), range(24)))
    assert sorted(made) == list(range(1, 25))
    for version in made:
        assert presets.body("t", "mine", version)["title"] in {f"{i}" for i in range(24)}


def test_a_damaged_preset_is_left_out_of_the_list_and_can_be_deleted(
    presets: Presets, mill: Mill
) -> None:
    presets.put("t", "good", body())
    presets.put("t", "bad", body())
    mill.client.hset("pm:presets:t", "bad", "[]")
    assert [each.name for each in presets.all("t")] == ["good"]
    assert presets.delete("t", "bad")
    assert mill.client.hkeys("pm:presets:t:contents") == [b"good@1"]
    assert presets.put("t", "bad", body()) == 2
