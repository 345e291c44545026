"""token_f1 and exact_match as SQuAD defines them; contains; number_match."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest

from evals.number_match import last_number
from evals.text_units import answer_words
from tests.support.judged import score


@pytest.mark.parametrize(
    ("output", "reference", "f1", "match"),
    [
        ("Paris", "Paris", 1.0, 1.0),
        ("the Paris.", "paris", 1.0, 1.0),
        ("It is Paris", "Paris", 0.5, 0.0),
        ("Paris, France", "Paris in France", 0.8, 0.0),
        ("London", "Paris", 0.0, 0.0),
        ("", "Paris", 0.0, 0.0),
        ("U.S.", "US", 1.0, 1.0),
        ("well-known", "wellknown", 1.0, 1.0),
        ("an apple a day", "apple day", 1.0, 1.0),
        ("Paris Paris", "Paris", 2 / 3, 0.0),
        ("a a b b", "b", 2 / 3, 0.0),
        ("  two\n\nwords ", "two words", 1.0, 1.0),
        ("$100", "100", 1.0, 1.0),
        ("thesis", "sis", 0.0, 0.0),
        # Beyond SQuAD: what is only articles or punctuation is compared as it is.
        ("A", "a", 1.0, 1.0),
        ("A.", "A", 1.0, 1.0),
        ("B", "A", 0.0, 0.0),
        ("the", "a", 0.0, 0.0),
        ("+", "+", 1.0, 1.0),
        ("+", "-", 0.0, 0.0),
        ("!", "the", 0.0, 0.0),
        # Beyond SQuAD: scripts without spaces, punctuation of all scripts.
        ("北京。", "北京", 1.0, 1.0),
        ("北京市", "北京", 0.8, 0.0),
        ("“Paris”…", "Paris", 1.0, 1.0),
        ("東京 です", "東京です", 1.0, 1.0),
        ("서울", "서울시", 0.0, 0.0),
    ],
)
def test_token_f1_and_exact_match_are_those_of_squad(
    output: str, reference: str, f1: float, match: float
) -> None:
    assert score("token_f1", output, reference) == pytest.approx(f1, abs=1e-12)
    assert score("exact_match", output, reference) == match


def test_the_best_of_several_references_counts() -> None:
    assert score("token_f1", "in Paris", "London", "Paris") == pytest.approx(2 / 3)
    assert score("exact_match", "Paris", "London", "the Paris") == 1.0
    assert score("contains", "it is Paris", "London", "Paris") == 1.0
    assert score("number_match", "so 7", "6", "7.0") == 1.0


@pytest.mark.parametrize("name", ["token_f1", "exact_match", "contains", "number_match"])
def test_empty_references_are_null_and_empty_outputs_zero(name: str) -> None:
    assert math.isnan(score(name, "Paris 7"))
    assert math.isnan(score(name, "Paris 7", "", " \t"))
    assert score(name, "", "Paris 7") == 0.0


@pytest.mark.parametrize(
    ("output", "reference", "found"),
    [
        ("The answer is Paris, of course.", "paris", 1.0),
        ("The answer is Paris", "in Paris", 0.0),
        ("a party", "art", 0.0),
        ("state of the art", "state of art", 1.0),
        ("我住在北京。", "北京", 1.0),
        ("one two", "two one", 0.0),
        ("ten 10", "1", 0.0),
    ],
)
def test_contains_finds_whole_words_in_their_order(
    output: str, reference: str, found: float
) -> None:
    assert score("contains", output, reference) == found


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("first 3, then 1,234.50 in all", "1234.5"),
        ("x = -3.", "-3"),
        ("x = −3", "-3"),
        ("10-12", "12"),
        ("page3-4", "4"),
        ("(3)-4", "4"),
        ("12'345", "12345"),
        ("12 345 678", "678"),
        ("12\u202f345", "12345"),
        ("1,00,000 rupees", "100000"),
        ("1,2,3", "3"),
        ("3, 4", "4"),
        ("#### 42", "42"),
        ("$1,000", "1000"),
        ("50%", "50"),
        (".5", "0.5"),
        ("0.50", "0.5"),
        ("1.5e3", "1500"),
        ("2e5x", "5"),
        ("1.2.3", "3"),
        ("v2.", "2"),
        ("007", "7"),
        ("答案是４２。", "42"),
        ("共１，２３４．５元", "1234.5"),
        ("٤٢", "42"),
        ("x² and ½", None),
        ("none", None),
        ("", None),
        ("-", None),
        ("1e999999999999", "999999999999"),
    ],
)
def test_the_last_number_is_read_without_separators(text: str, number: str | None) -> None:
    assert last_number(text) == (None if number is None else Decimal(number))


def test_a_million_digits_are_a_number() -> None:
    many = "9" * 1_000_000
    assert score("number_match", many, many) == 1.0
    assert score("number_match", many + "1", many) == 0.0


def test_number_match_is_null_where_no_reference_has_a_number() -> None:
    assert math.isnan(score("number_match", "7", "seven"))
    assert score("number_match", "7", "seven", "7") == 1.0
    assert score("number_match", "seven", "7") == 0.0


def test_words_of_an_answer_have_no_case_punctuation_or_articles() -> None:
    assert answer_words("The $5-bill, an A. 北京的\u3000Café!") == [
        *("5bill", "北", "京", "的", "café")
    ]
