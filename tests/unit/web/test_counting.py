"""The law of counting: what fits is counted exactly, however long it is, and only what cannot fit
is given up."""

from __future__ import annotations

import threading
import time

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from common.tokenizer import SHORT, JsonTokenizer, WordTokenizer
from web.intake.counting import PIECE, count_tokens, is_too_long

SPACES = 40  # the longest run of them in the corpus


@pytest.fixture(scope="module")
def tokenizer() -> JsonTokenizer:
    """Byte-level, with merges: letters, words and a long run of spaces."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    corpus = ["hello world and all who are in it", "x" + " " * SPACES + "y"] * 20
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        corpus, trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet)
    )
    return JsonTokenizer(backend.to_str().encode())


@pytest.mark.parametrize(
    "text", ["", "hello", " " * 50_000, "hello world " * 5_000, "é" * SHORT, "\n" * SHORT]
)
def test_every_text_is_counted_as_it_is_encoded(tokenizer: JsonTokenizer, text: str) -> None:
    alone, beside = len(tokenizer.encode(text)), ["hello", text]
    assert count_tokens(tokenizer, [text], special=True) == [alone]
    assert count_tokens(tokenizer, beside, special=True) == [len(tokenizer.encode("hello")), alone]


@pytest.mark.parametrize(
    "text", [" " * (2 * PIECE + 3), "hello world " * (PIECE // 6), "ab" * PIECE]
)
def test_a_text_of_just_the_context_is_never_given_up(tokenizer: JsonTokenizer, text: str) -> None:
    (tokens,) = count_tokens(tokenizer, [text], special=True)
    assert not is_too_long(tokenizer, text, tokens)


def test_a_text_beyond_what_the_context_can_stand_for_is_not_read(tokenizer: JsonTokenizer) -> None:
    began = time.monotonic()
    assert is_too_long(tokenizer, " " * 50_000_000, 2048)
    assert time.monotonic() - began < 1


def test_a_text_is_given_up_at_the_first_piece_that_fills_the_context(
    tokenizer: JsonTokenizer,
) -> None:
    text = "ab" * (10 * PIECE)
    context = len(text) // tokenizer.longest + 1
    began = time.process_time()
    count_tokens(tokenizer, [text[:PIECE]], special=False)
    one_piece = time.process_time() - began
    assert context > PIECE // tokenizer.longest
    began = time.process_time()
    assert is_too_long(tokenizer, text, context)
    assert time.process_time() - began < 5 * one_piece + 0.5


def test_other_threads_go_on_while_a_long_text_is_counted(tokenizer: JsonTokenizer) -> None:
    done = threading.Event()

    def count() -> None:
        count_tokens(tokenizer, ["hello world " * 400_000], special=True)
        done.set()

    thread = threading.Thread(target=count)
    thread.start()
    turns, began = 0, time.monotonic()
    while not done.is_set() and time.monotonic() - began < 60:
        time.sleep(0.005)
        turns += 1
    thread.join(60)
    assert turns > 20, "counting kept the interpreter's lock"


def test_words_have_a_longest_too() -> None:
    assert is_too_long(WordTokenizer(), " " * 1_000_000, 8192)
    assert not is_too_long(WordTokenizer(), "word " * 8192, 8192)
