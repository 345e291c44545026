"""What is made of long texts is stored, and not made again."""

from __future__ import annotations

from typing import Any

import pytest

from common.prompting import prepare
from common.prompting.prepare import LONG, Preparation, Reading
from common.store.job_prep import JobPrep
from tests.support.tokenizers import byte_level

CHAT = [{"role": "system", "content": "<i>s</i>"}, {"role": "user", "content": "{{text}}<b>u</b>"}]
TEMPLATED: JobPrep = {"template": {"prompt": "{{a}} {{text}}"}}
CHANGED: JobPrep = {"clean": ["html"], "truncate": {"to": 50, "variable": "text"}}
LONG_TEXT = "<b>&lt;b&gt;</b> " * (LONG // 10)


def reading() -> Reading:
    return Reading(byte_level(), 4096, lambda messages: "|".join(m["content"] for m in messages))


@pytest.mark.parametrize(
    ("prep", "item"),
    [
        ({**TEMPLATED, **CHANGED}, {"vars": {"a": "<i>x</i>", "text": LONG_TEXT}}),
        ({"clean": ["html"], "truncate": {"to": 50}}, {"prompt": LONG_TEXT}),
        (
            {"clean": ["html"], "truncate": {"to": 50}},
            {"messages": [*CHAT, {"role": "user", "content": LONG_TEXT}]},
        ),
    ],
)
def test_what_was_made_of_long_texts_gives_the_same_prompt_without_work(
    prep: JobPrep, item: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    preparation = Preparation(prep)
    first = preparation.prepare(item, reading())
    assert first.made and "<b>" in first.text  # cleaning it once more would change it
    for work in ("clean", "truncate"):
        monkeypatch.delattr(prepare, work)
    again = preparation.prepare({**item, "made": first.made}, reading())
    assert (again.text, again.asked) == (first.text, first.asked)


def test_of_short_texts_and_unchanged_ones_nothing_is_stored() -> None:
    short = {"vars": {"a": "x", "text": "x" * (LONG - 1)}}
    long = {"vars": {"a": "x", "text": "x" * LONG}}
    assert Preparation({**TEMPLATED, **CHANGED}).prepare(short, reading()).made is None
    assert Preparation(TEMPLATED).prepare(long, reading()).made is None
    assert Preparation({**TEMPLATED, **CHANGED}).prepare(long, reading()).made is not None
