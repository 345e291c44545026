"""Tokenizing, the same for the web tier and the worker."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from common.tokenizer import JsonTokenizer, WordTokenizer, load


@pytest.fixture
def byte_tokenizer() -> JsonTokenizer:
    """One token a byte, as byte-level BPE without merges."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({char: i for i, char in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return JsonTokenizer(backend.to_str().encode(), frozenset({0}))


def test_a_tokenizer_survives_being_published(byte_tokenizer: JsonTokenizer) -> None:
    again = load("json", byte_tokenizer.dumps())
    assert again is not None
    assert again.encode("Grüße 你好") == byte_tokenizer.encode("Grüße 你好")
    assert again.encode_batch(["a", "bc"]) == [
        byte_tokenizer.encode("a"),
        byte_tokenizer.encode("bc"),
    ]


@pytest.mark.parametrize("text", ["plain", "Grüße", "你好，世界", "🙂👩‍👩‍👧 end"])
def test_streamed_text_is_whole_and_never_shows_half_a_character(
    byte_tokenizer: JsonTokenizer, text: str
) -> None:
    stream = byte_tokenizer.stream()
    pieces = [stream.step(token) for token in byte_tokenizer.encode(text)]
    assert "".join(pieces) == text
    assert "\ufffd" not in "".join(pieces)


@pytest.mark.parametrize("text", ["x\ufffd", "\ufffd", "a\ufffd\ufffd", "日", "é\ufffdb"])
def test_a_replacement_character_that_was_written_stays_at_the_end(
    byte_tokenizer: JsonTokenizer, text: str
) -> None:
    ids = byte_tokenizer.encode(text)
    for ends, whole in ((ids, text), (byte_tokenizer.encode(text + "日")[:-1], text)):
        stream = byte_tokenizer.stream()
        assert "".join(stream.step(token) for token in ends) + stream.rest() == whole
        assert stream.rest() == ""


def test_words_are_the_echo_engines_tokens() -> None:
    assert len(WordTokenizer().encode("one  two\nthree")) == 3
    assert load("none", None) is None
