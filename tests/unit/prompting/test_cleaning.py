"""The laws of cleaning: what each step takes out, what it leaves, and that its time is bounded."""

from __future__ import annotations

import random
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.prompting import cleaning
from common.prompting.cleaning import ORDER, clean

MANY = 200_000  # characters


@pytest.mark.parametrize(
    ("step", "text", "cleaned"),
    [
        ("encoding", "doesnâ€™t Ã©tÃ© Ð¿Ñ€Ð¸Ð²ÐµÑ‚", "doesn’t été привет"),
        ("encoding", "l’été, 你好 ½ “x” &amp; \x00", "l’été, 你好 ½ “x” &amp; \x00"),
        ("encoding", "a\x85b", "a\x85b"),
        ("encoding", "é\x85 €", "é\x85 €"),
        ("unicode", "e\u0301 \u1112\u1161\u11ab ﬁ", "é 한 ﬁ"),
        ("html", "<p>one<br/>two</p><b>th</b>ree", "\none\ntwo\nthree"),
        ("html", "a<script type='x'>if (a<b) {}</script>b<STYLE>p{}</style >c", "abc"),
        ("html", "a <b and 1 < 2 > 0, x <3, <- ->, <>", "a <b and 1 < 2 > 0, x <3, <- ->, <>"),
        ("html", '<a href="a>b" title=\'<\'>x</a>', "<a href=\"a>b\" title='<'>x"),
        ("html", '<a href="a>b">x</a><!-- <p> -->y<!DOCTYPE html>', "xy"),
        ("html", "&lt;b&gt; &amp;lt; &#228;&#xE4;&nbsp;&nosuch; AT&T &#99999999999;",
         "<b> &lt; ää\u00a0&nosuch; AT&T &#99999999999;"),
        ("html", "<td>a</td><td>b</td>", " a  b "),
        ("html", "<!-- not closed <i>x</i>", "<!-- not closed x"),
        ("controls", "a\x00b\x1b[0m\x7f\x9fc\tc\nd\r\ne\x0bf", "ab[0mc\tc\nd\r\ne\nf"),
        ("controls", "he\u200dl\u200blo\u00ad \u202eevil\u202c\ufeff", "hello evil"),
        ("controls", "👨\u200d👩\u200d👧 👩🏽\u200d🚀 🏳️\u200d🌈",
         "👨\u200d👩\u200d👧 👩🏽\u200d🚀 🏳️\u200d🌈"),
        ("controls", "می\u200cخواهم क्\u200dष", "می\u200cخواهم क्\u200dष"),
        ("controls", "क\u200d\u200dष \u200d", "क\u200dष "),
        ("controls", "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
         "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"),
        ("controls", "hi\U000e0049\U000e0067\U000e006e\U000e007f", "hi"),
        ("whitespace", "  a \t b\u00a0\u3000c \r\n\r\n \r\n\u2028 d\n", "a b c\n\nd"),
    ],
)  # fmt: skip
def test_a_step_changes_this_and_nothing_else(step: str, text: str, cleaned: str) -> None:
    assert clean(text, [step]) == (cleaned, [step] if cleaned != text else [])


def test_the_order_of_steps_is_fixed() -> None:
    text = "<p>cafÃ©&#8203; e&#769;</p>"
    assert clean(text, ORDER) == clean(text, ORDER[::-1])
    # Entities are read after Unicode is normalized, and before invisible characters go.
    assert clean(text, ORDER) == ("café e\u0301", ["encoding", "html", "controls", "whitespace"])


def test_nothing_is_cleaned_that_was_not_asked_for() -> None:
    assert clean(" <b>\x00 ", []) == (" <b>\x00 ", [])


@given(st.text(st.sampled_from("a \n\r\t\u2028é"), max_size=60), st.integers(1, 9))
def test_white_space_is_the_same_however_a_text_is_cut_into_pieces(text: str, piece: int) -> None:
    whole, _ = clean(text, ["whitespace"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cleaning, "LONG_PIECE", piece)
        assert clean(text, ["whitespace"])[0] == whole


@given(st.text(st.sampled_from("aeé\u0301\u0327\u1112\u1161\u11ab\u09c7\u09be"), max_size=60))
def test_long_texts_are_normalized_as_short_ones(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cleaning, "MARKED_PIECE", 16)
        if all(len(run) < 8 for run in _runs_of_marks(text)):
            assert clean(text, ["unicode"])[0] == unicodedata.normalize("NFC", text)


def _runs_of_marks(text: str) -> list[str]:
    shape = "".join("m" if unicodedata.category(each)[0] == "M" or "\u1160" < each < "\u1200"
                    else " " for each in text)  # fmt: skip
    return shape.split()


def test_a_long_text_is_repaired_as_a_short_one() -> None:
    line = "It doesnâ€™t matter, cafÃ© or Ã©tÃ©; "
    repaired, _ = clean(line * 500, ["encoding"])
    assert repaired == "It doesn’t matter, café or été; " * 500


HOSTILE = {
    "html": ["<a ", '<a "', '<a">"', "<!--", "<script>", "<!a", "&#1", "&amp;", "<b>", "</script "],
    "unicode": ["\u0316\u0300", "e\u0301", "\u1112\u1161\u11ab"],
    "controls": ["\u200b", "a\u200d", "🏴\U000e0061", "a\0"],
    "whitespace": [" ", "\n", " \n", "\r", "a "],
}


@pytest.mark.parametrize(
    ("step", "unit"), [(step, unit) for step, units in HOSTILE.items() for unit in units]
)
def test_a_hostile_text_takes_no_more_time_than_its_length_allows(step: str, unit: str) -> None:
    began = time.process_time()
    clean(unit * (MANY // len(unit)), [step])
    assert time.process_time() - began < 1.5


WORST = ["é\x85\x9d", "Ã\x83Â\x82 ", "ÃÂ\xa0 ", "ÃÂâ€™\x80\x9d\xa0 ïÐÑРС‚ž", "â€", "ÐÑ", "\ufffd"]


@pytest.mark.parametrize("letters", WORST)
def test_repairing_the_worst_text_takes_seconds_at_most_and_gives_way(
    letters: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rested: list[float] = []
    monkeypatch.setattr("common.cooperate.give_way", lambda: rested.append(time.monotonic()))
    random.seed(1)
    began = time.process_time()
    clean("".join(random.choices(letters, k=MANY)), ["encoding"])
    took = time.process_time() - began
    assert took < 2, "with the whole repair for each piece it would take seven"
    assert len(rested) > min(10, took / 0.5)


def test_of_the_texts_of_an_item_only_the_first_characters_are_repaired() -> None:
    line = "It doesnâ€™t matter, cafÃ©; "
    repair = cleaning.Repair()
    lines = cleaning.MOST_REPAIRED // len(line)
    first, _ = clean(line * (2 * lines), ["encoding"], repair)
    assert first.startswith("It doesn’t matter, café; " * (lines - 1))
    assert first.endswith(line * (lines - 30))
    assert clean("cafÃ©", ["encoding"], repair) == ("cafÃ©", [])
    assert clean("cafÃ©", ["encoding"]) == ("café", ["encoding"])


def test_lines_that_are_right_and_wrong_in_parts_are_repaired_as_long_as_they_are_few() -> None:
    line = "l’été doesnâ€™t end, 你好 cafÃ©. "
    repaired, _ = clean(line * 400, ["encoding"])
    assert repaired == "l’été doesn’t end, 你好 café. " * 400
    repaired, _ = clean(line * 4000, ["encoding"])
    assert repaired.startswith("l’été doesn’t end, 你好 café. " * 900)
    assert repaired.endswith(line)
