"""ROUGE equals rouge-score on ASCII text, and knows scripts without spaces."""

from __future__ import annotations

import math
import random
import string

import pytest
from rouge_score.rouge_scorer import RougeScorer

from evals import rouge
from evals.lcs import Budget, lcs_length
from evals.text_units import words
from tests.support.judged import corpus, english, item, score, scores

NAMES = {"rouge_1": "rouge1", "rouge_2": "rouge2", "rouge_l": "rougeL"}


@pytest.mark.parametrize("most", [3, 14, 300])
def test_rouge_equals_rouge_score_on_ascii_text(most: int) -> None:
    draw = random.Random(most)
    items = [
        item(english(draw, most), *(english(draw, most) for _ in range(draw.randint(1, 3))))
        for _ in range(40)
    ]
    items += [item("", "some words"), item("snake_case A-B 3.5e2", "snake case a b 3 5e2")]
    found = scores(items, *NAMES)
    theirs = RougeScorer(list(NAMES.values()))
    for place, each in enumerate(items):
        if not any(map(words, each.references)):
            continue
        wanted = theirs.score_multi(each.references, each.outputs[0].text)
        for ours, name in NAMES.items():
            value = found.values[ours][place]
            assert value == pytest.approx(wanted[name].fmeasure, abs=1e-9), (ours, each)


def test_words_are_those_of_rouge_score_for_every_ascii_character() -> None:
    for each in map(chr, range(128)):
        wanted = RougeScorer(["rouge1"])._tokenizer.tokenize(f"x{each}1 {each}Y{each}")
        assert words(f"x{each}1 {each}Y{each}") == wanted, each


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "text",
    [
        "订单晚到了，客户要求退款。",
        "注文が遅れましたので、返金します。",
        "คำสั่งซื้อมาช้า",
        "ບໍລິສັດ",
        "ការបញ្ជាទិញ",
        "မြန်မာစာ",
        "주문이 늦었습니다",
        "ग्राहक ने लिखा",
        "العميل كتب رسالة",
        "größe Ünïcode tést",
    ],
)
def test_identical_texts_of_every_script_score_one(text: str, name: str) -> None:
    assert score(name, text, text) == 1.0


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("退款Order 3天", ["退", "款", "order", "3", "天"]),
        ("キーを、カ゛", ["キ", "ー", "を", "カ"]),
        ("กำ ก้", ["กำ"[0], "กำ"[1], "ก้"]),
        ("မြန်", ["မြ", "န်"]),
        ("주문이 늦었다", ["주문이", "늦었다"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("naïve cafe\u0301 Ωμ", ["naïve", "cafe\u0301", "ωμ"]),
        ("a_b-c·d🙂e", ["a", "b", "c", "d", "e"]),
        ("々〇〆", ["々", "〇", "〆"]),
        ("𠀀b", ["𠀀", "b"]),
        ("", []),
        ("\ud800a", ["a"]),
    ],
)
def test_texts_are_cut_into_words_or_characters_with_their_marks(text: str, cut: list[str]) -> None:
    assert words(text) == cut


def test_the_best_reference_counts() -> None:
    assert score("rouge_l", "a b c", "x y z", "a b c", "") == 1.0
    assert score("rouge_1", "a b", "a b c d", "a x") == pytest.approx(2 * 2 / 6)


def test_references_without_a_word_are_null() -> None:
    for name in NAMES:
        assert math.isnan(score(name, "a b", "", " \n", "!?"))
        assert score(name, "", "a b") == 0.0


def by_table(first: list[int], second: list[int]) -> int:
    """The longest common subsequence as textbooks compute it."""
    row = [0] * (len(second) + 1)
    for ours in first:
        before = row[:]
        for at, theirs in enumerate(second):
            row[at + 1] = before[at] + 1 if ours == theirs else max(row[at], before[at + 1])
    return row[-1]


@pytest.mark.parametrize("symbols", [1, 2, 5, 40, 5000])
@pytest.mark.parametrize("length", [0, 1, 7, 64, 700])
def test_the_longest_common_subsequence_is_found_in_every_way(length: int, symbols: int) -> None:
    draw = random.Random(symbols * length)
    for _ in range(3):
        first = draw.choices(range(symbols), k=length)
        second = draw.choices(range(symbols), k=draw.randint(0, length))
        assert lcs_length(first, second, Budget(1 << 30)) == by_table(first, second)


def test_what_would_take_too_long_is_null_and_not_a_low_score(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draw = random.Random(1)
    long, other = (" ".join(draw.choices(string.ascii_letters, k=600)) for _ in range(2))
    assert 0 < score("rouge_l", long, other) < 1
    monkeypatch.setattr(rouge, "STEPS", 100)
    assert math.isnan(score("rouge_l", long, other))
    assert score("rouge_l", long, long) == 1.0  # costs nothing
    assert score("rouge_1", long, other) > 0


def test_items_beside_it_do_not_change_a_score() -> None:
    items = corpus(9, 700, references=3)
    together = scores(items, "rouge_2", "rouge_l", "bleu", "chrf", "token_f1")
    for place in (0, 255, 256, 699):
        alone = scores([items[place]], *together.values)
        for name, values in together.values.items():
            assert alone.values[name][0] == pytest.approx(values[place], abs=1e-12), name
