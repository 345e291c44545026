"""BLEU and chrF equal sacrebleu's, over a job and for each item."""

from __future__ import annotations

import sys

import pytest
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a
from sacrebleu.tokenizers.tokenizer_char import TokenizerChar
from sacrebleu.tokenizers.tokenizer_zh import TokenizerZh

from evals.bleu_words import TOKENIZERS, choose_tokenizer, tokenizer_for
from evals.item import Item
from tests.support.judged import corpus, item, scores, tally

CLOSE = 1e-9
THEIRS = {"13a": Tokenizer13a, "zh": TokenizerZh, "char": TokenizerChar}

# More characters than fit six times into a whole number.
MANY = "".join(map(chr, range(0x4E00, 0x6000)))

CORPORA = {
    "many characters": [
        item(MANY[at : at + 400], MANY[at + 150 : at + 500] + "。") for at in range(0, 4000, 200)
    ],
    "one reference": corpus(1, 60),
    "up to four references": corpus(2, 60, references=4),
    "sixteen references": corpus(3, 12, references=16),
    "long texts": corpus(4, 5, most=400, references=2),
    "too short for 4-grams": corpus(5, 20, most=3),
    "one item": corpus(6, 1),
    "only empty outputs": [item("", "a b c d"), item("", "e f g h")],
    "nothing in common": [item("x y z u v", "a b c d"), item("p q r s", "e f g h")],
    "no 4-gram in common": [item("a b c x y z", "a b c d e f"), item("k l", "k l m")],
}


def theirs(items: list[Item]) -> tuple[list[str], list[list[str | None]]]:
    """Outputs, and lists of references as sacrebleu takes them: None where an item has fewer."""
    most = max(len(each.references) for each in items)
    padded = [[*each.references, *([None] * (most - len(each.references)))] for each in items]
    return [each.outputs[0].text for each in items], [
        list(column) for column in zip(*padded, strict=True)
    ]


@pytest.mark.parametrize("tokenizer", ["13a", "zh", "char", "none"])
@pytest.mark.parametrize("items", CORPORA.values(), ids=CORPORA.keys())
def test_bleu_of_a_job_equals_sacrebleu_and_has_its_signature(
    items: list[Item], tokenizer: str
) -> None:
    bleu = BLEU(tokenize=tokenizer, force=True)
    wanted = bleu.corpus_score(*theirs(items)).score
    found = tally(items, "bleu", tokenizer=tokenizer)
    value = found.summary("bleu", "eval_1")["value"]
    assert value == pytest.approx(wanted, abs=CLOSE, rel=0)
    assert found.signature("bleu", tokenizer) == str(bleu.get_signature())


@pytest.mark.parametrize("items", CORPORA.values(), ids=CORPORA.keys())
def test_bleu_of_an_item_equals_sacrebleu_with_effective_order(items: list[Item]) -> None:
    bleu = BLEU(effective_order=True, force=True)
    wanted = [
        bleu.sentence_score(each.outputs[0].text, list(each.references)).score for each in items
    ]
    assert scores(items, "bleu").values["bleu"] == pytest.approx(wanted, abs=CLOSE, rel=0)


@pytest.mark.parametrize("items", CORPORA.values(), ids=CORPORA.keys())
def test_chrf_equals_sacrebleu_and_has_its_signature(items: list[Item]) -> None:
    chrf = CHRF()
    wanted = chrf.corpus_score(*theirs(items)).score
    found = tally(items, "chrf")
    value = found.summary("chrf", "eval_1")["value"]
    assert value == pytest.approx(wanted, abs=CLOSE, rel=0)
    assert found.signature("chrf", "13a") == str(chrf.get_signature())
    of_items = [
        chrf.sentence_score(each.outputs[0].text, list(each.references)).score for each in items
    ]
    assert scores(items, "chrf").values["chrf"] == pytest.approx(of_items, abs=CLOSE, rel=0)


def test_each_character_is_cut_off_as_sacrebleu_does() -> None:
    cut = {name: (tokenizer(), TOKENIZERS[name]) for name, tokenizer in THEIRS.items()}
    characters = [chr(code) for code in range(0x3100) if not 0xD800 <= code < 0xE000]
    characters += map(chr, [*range(0x3100, 0x30000, 61), *range(0xF900, 0x10000), sys.maxunicode])
    for name, (wanted, found) in cut.items():
        for each in characters:
            if not 0xD800 <= ord(each) < 0xE000:
                text = f"a{each}1{each}{each} ."
                assert found(text) == wanted(text.rstrip()).split(), (name, hex(ord(each)))


@pytest.mark.parametrize("name", THEIRS)
def test_runs_of_punctuation_are_cut_as_sacrebleu_does(name: str) -> None:
    wanted = THEIRS[name]()
    pieces = ["a", "1", "2", ".", ",", "-", " ", "\n", "'", "&quot;", "&amp;lt;", "<skipped>", "中"]
    for first in range(len(pieces) ** 4):
        text = ""
        for _ in range(4):
            first, at = divmod(first, len(pieces))
            text += pieces[at]
        assert TOKENIZERS[name](text) == wanted(text.rstrip()).split(), text


@pytest.mark.parametrize(
    ("text", "tokenizer"),
    [
        ("plain English", "13a"),
        ("größe und Maß", "13a"),
        ("订单晚到了，3天", "zh"),
        ("注文が遅れました", "char"),
        ("คำสั่งซื้อมาช้า", "char"),
        ("주문이 늦었습니다", "13a"),
        ("the word 订单 means order", "13a"),
        ("", "13a"),
        ("\ud800", "13a"),
    ],
)
def test_the_script_of_a_text_tells_the_tokenizer(text: str, tokenizer: str) -> None:
    assert tokenizer_for(text) == tokenizer


def test_an_evaluation_has_the_tokenizer_that_suits_most_references() -> None:
    assert choose_tokenizer(["订单", "晚到了", "late"]) == "zh"
    assert choose_tokenizer(["订单", "late", "order", " "]) == "13a"
    assert choose_tokenizer([]) == "13a"
