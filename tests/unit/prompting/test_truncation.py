"""The laws of truncation: the limit holds once the text is read again, and no character is cut in
two."""

from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import InvalidRequest
from common.prompting.prepare import Preparation, Reading
from common.prompting.truncation import Keep, truncate
from common.store.job_prep import JobPrep
from common.tokenizer import Tokenizer, WordTokenizer
from tests.support.tokenizers import byte_level, unigram

TOKENIZERS: dict[str, Tokenizer] = {
    "bytes": byte_level(), "unigram": unigram(), "words": WordTokenizer(),
}  # fmt: skip
PARTS = ["the ", "quick brown ", "x", "é", "e\u0301", "你好", "👨\u200d👩\u200d👧", "🇩🇪🇫🇷",
         "👍🏽", "क्\u200dष", "\n", "  ", "ﬁ", "\u1112\u1161\u11ab", "\r\n",
         "🏴\U000e0067\U000e0062\U000e007f"]  # fmt: skip
TEXTS = st.lists(st.sampled_from(PARTS), max_size=60).map("".join)


def count(tokenizer: Tokenizer, text: str, special: bool = False) -> int:
    return len(tokenizer.encode(text, special))


@pytest.mark.parametrize("keep", ["start", "end", "both"])
@pytest.mark.parametrize("name", TOKENIZERS)
@settings(deadline=None)
@given(text=TEXTS, limit=st.integers(1, 60))
def test_a_cut_text_holds_the_limit_and_is_of_whole_characters(
    name: str, keep: Keep, text: str, limit: int
) -> None:
    tokenizer = TOKENIZERS[name]
    cut = truncate(text, limit, keep, tokenizer)
    if count(tokenizer, text) <= limit:
        assert cut == text
        return
    assert cut is None or count(tokenizer, cut) <= limit
    if keep == "start":
        assert text.startswith(cut or "")
        assert _whole(text, len(cut or ""))
    if keep == "end":
        assert text.endswith(cut or "")
        assert _whole(text, len(text) - len(cut or ""))


def _whole(text: str, at: int) -> bool:
    """Whether no visible character goes over this place."""
    if not 0 < at < len(text):
        return True
    before, after = text[at - 1], text[at]
    halves = 0
    while halves < at and "🇦" <= text[at - 1 - halves] <= "🇿":
        halves += 1
    return not (
        unicodedata.category(after)[0] == "M"
        or "\u200d" in (before, after)
        or after in "\u1161\u11ab🏽\U000e0067\U000e0062\U000e007f"
        or (before, after) == ("\r", "\n")
        or ("🇦" <= after <= "🇿" and halves % 2)
    )


@pytest.mark.parametrize("keep", ["start", "end", "both"])
def test_a_cut_text_has_nearly_as_much_as_it_may(keep: Keep) -> None:
    tokenizer = byte_level()
    text = "The quick brown fox jumps over the lazy dog. " * 200
    for limit in (1, 2, 100, 1000):
        cut = truncate(text, limit, keep, tokenizer)
        assert cut is not None and limit - 2 <= count(tokenizer, cut) <= limit


def test_both_keeps_the_start_and_the_end() -> None:
    text = "first " + "middle " * 100 + "last"
    assert truncate(text, 4, "both", WordTokenizer()) == "first middle middle last"


@pytest.mark.parametrize("unit", ["a", " ", "ab ", "你", "\u0301", "🇩"])
@pytest.mark.parametrize("keep", ["start", "end", "both"])
def test_a_very_long_text_is_not_read_whole(unit: str, keep: Keep) -> None:
    tokenizer = byte_level()
    text = unit * 1_000_000
    began = time.process_time()
    cut = truncate(text, 50, keep, tokenizer)
    assert cut is not None and count(tokenizer, cut) <= 50
    assert time.process_time() - began < 1


def reading(tokenizer: Tokenizer, context: int = 200, answer: int = 50) -> Reading:
    def chat(messages: list[dict[str, str]]) -> str:
        return "".join(f"<{each['role']}>{each['content'].strip()}\n" for each in messages)

    return Reading(tokenizer, context, chat, answer)


@pytest.mark.parametrize("keep", ["start", "end", "both"])
@pytest.mark.parametrize("name", TOKENIZERS)
@settings(deadline=None)
@given(text=TEXTS.filter(bool), uses=st.integers(1, 3), chat=st.booleans())
def test_what_is_fitted_fits_with_its_template_and_its_answer(
    name: str, keep: Keep, text: str, uses: int, chat: bool
) -> None:
    tokenizer = TOKENIZERS[name]
    source = "Read: " + "{{text}} and " * uses + "{{other}}."
    prep: JobPrep = {"truncate": {"to": "fit", "keep": keep, "variable": "text"}}
    if chat:
        prep["template"] = {"messages": [{"role": "user", "content": source}]}
    else:
        prep["template"] = {"prompt": source}
    prepared = Preparation(prep).prepare(
        {"vars": {"text": text * 3, "other": "hello"}}, reading(tokenizer, 100, 30)
    )
    assert count(tokenizer, prepared.text, prepared.is_plain) <= 70
    if prepared.cut is None:
        whole = Preparation({"template": prep["template"]})
        assert prepared.text == whole.prepare(
            {"vars": {"text": text * 3, "other": "hello"}}, reading(tokenizer)
        ).text  # fmt: skip
    else:
        assert prepared.cut.after != prepared.cut.before == text * 3


def test_a_template_that_leaves_no_room_is_refused_and_not_answered_without_its_text() -> None:
    prep: JobPrep = {"template": {"prompt": "word " * 60 + "{{a}}"}, "truncate": {"to": "fit"}}
    with pytest.raises(InvalidRequest, match="maximum context length") as refused:
        Preparation(prep).prepare({"vars": {"a": "x y z"}}, reading(WordTokenizer(), 100, 40))
    assert refused.value.code == "context_length_exceeded"
    with pytest.raises(InvalidRequest, match="maximum context length"):
        Preparation(prep).prepare({"vars": {"a": "x y z"}}, reading(WordTokenizer(), 100, 100))


def test_a_prompt_is_cut_to_what_the_model_reads_with_its_special_tokens() -> None:
    prep: JobPrep = {"truncate": {"to": 10, "keep": "start"}}
    prepared = Preparation(prep).prepare({"prompt": "hello " * 99}, reading(byte_level()))
    assert 9 <= count(byte_level(), prepared.text, special=True) <= 10


def test_of_a_chat_the_users_last_message_is_cut() -> None:
    prep: JobPrep = {"truncate": {"to": 2, "keep": "end"}}
    chat = [{"role": role, "content": "a b c"} for role in ("system", "user", "assistant", "user")]
    prepared = Preparation(prep).prepare({"messages": chat}, reading(WordTokenizer()))
    assert prepared.asked == [*chat[:3], {"role": "user", "content": "b c"}]


@pytest.mark.parametrize(
    ("prep", "field"),
    [
        ({"template": {"prompt": "{{a}} {{b}}"}, "truncate": {"to": 5}}, "truncate.variable"),
        ({"template": {"prompt": "no variable"}, "truncate": {"to": 5}}, "truncate.variable"),
        ({"template": {"prompt": "{{a}}"}, "truncate": {"to": 5, "variable": "b"}},
         "truncate.variable"),
        ({"truncate": {"to": 5, "variable": "b"}}, "truncate.variable"),
    ],
)  # fmt: skip
def test_what_is_to_be_cut_must_be_clear(prep: JobPrep, field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        Preparation(prep)
    assert refused.value.field == field


def test_cleaning_comes_before_cutting_and_what_is_cleaned_away_is_missing() -> None:
    prep: JobPrep = {
        "template": {"prompt": "{{a}}!"}, "clean": ["html"], "truncate": {"to": 2, "keep": "start"},
    }  # fmt: skip
    prepared = Preparation(prep).prepare({"vars": {"a": "<i> <b> one"}}, reading(WordTokenizer()))
    assert prepared.text == "  one!"
    assert prepared.cleaned == {"a": ["html"]} and prepared.cut is None
    with pytest.raises(InvalidRequest) as refused:
        Preparation(prep).prepare({"vars": {"a": "<b></b>"}}, reading(WordTokenizer()))
    assert refused.value.code == "missing_variable"


def test_a_step_that_this_version_does_not_know_is_named_and_not_left_out() -> None:
    with pytest.raises(KeyError, match="shout"):
        Preparation({"clean": ["html", "shout"]})
