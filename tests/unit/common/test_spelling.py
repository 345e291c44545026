"""The bytes of single tokens, joined, are the text, also with byte-level vocabularies."""

from __future__ import annotations

import random

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from common.generation import Spelling
from common.tokenizer import JsonTokenizer
from worker.engine.scheduling.text import Speller, Text

ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())
WORDS = ["▁", "a", "b", "▁hello", "▁world", "日"]
FALLBACK = {
    word: id
    for id, word in enumerate(
        ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *WORDS]
    )
}


@pytest.fixture(scope="module")
def byte_level() -> JsonTokenizer:
    backend = Tokenizer(models.BPE({letter: id for id, letter in enumerate(ALPHABET)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken("<|end|>", special=True)])
    backend.add_tokens([AddedToken("<tool>", special=False)])
    return JsonTokenizer(backend.to_str().encode())


@pytest.fixture(scope="module")
def byte_fallback() -> JsonTokenizer:
    """As SentencePiece vocabularies are converted: a space is a part of the word behind it."""
    backend = Tokenizer(
        models.BPE(vocab=FALLBACK, merges=[], unk_token="<unk>", byte_fallback=True)
    )
    steps = [
        decoders.Replace("▁", " "),
        decoders.ByteFallback(),
        decoders.Fuse(),
        decoders.Strip(" ", 1, 0),
    ]
    backend.decoder = decoders.Sequence(steps)
    backend.add_special_tokens([AddedToken("</s>", special=True)])
    return JsonTokenizer(backend.to_str().encode())


def spelled(tokenizer: JsonTokenizer, ids: list[int]) -> tuple[str, list[Spelling]]:
    stream, speller = tokenizer.stream(), Speller(tokenizer)
    return "".join(stream.step(token) for token in ids), [speller.push(token) for token in ids]


TEXTS = ["plain words", "日本語 hello world", "Grüße 🙂👩‍👩‍👧 end", "a\ufffdb", " led by a space"]


@pytest.mark.parametrize("text", TEXTS)
def test_what_tokens_add_is_the_text(byte_level: JsonTokenizer, text: str) -> None:
    ids = byte_level.encode(text)
    said, spellings = spelled(byte_level, ids)
    assert said == text and b"".join(each.added for each in spellings) == text.encode()
    assert all(each.text for each in spellings)


def test_words_of_sentencepiece_keep_their_spaces(byte_fallback: JsonTokenizer) -> None:
    ids = [FALLBACK[word] for word in ("▁hello", "▁world", "<0xE6>", "<0x97>", "<0xA5>", "b")]
    said, spellings = spelled(byte_fallback, ids)
    assert said == "hello world日b" and b"".join(each.added for each in spellings).decode() == said
    assert byte_fallback.spell(FALLBACK["▁hello"]) == Spelling(FALLBACK["▁hello"], " hello")


@pytest.mark.parametrize("words", [["<0xEF>"], ["▁hello", "<0xEF>"], ["▁", "<0xEF>"]])
def test_the_rest_of_a_text_is_its_end(byte_fallback: JsonTokenizer, words: list[str]) -> None:
    ids = [FALLBACK[word] for word in (*words, "<0xBF>", "<0xBD>")]
    stream = byte_fallback.stream()
    said = "".join(stream.step(token) for token in ids) + stream.rest()
    assert said == byte_fallback.decode(ids) and said.endswith("\ufffd")


@pytest.mark.parametrize(
    ("stops", "whole"), [((), "xy\ufffd"), (("y",), "x"), (("z",), "xy\ufffd")]
)
def test_the_rest_of_a_text_is_cut_at_stop_strings(
    byte_level: JsonTokenizer, stops: tuple[str, ...], whole: str
) -> None:
    text = Text(byte_level.stream(), stops)
    told = ""
    for token in byte_level.encode("xy\ufffd"):
        piece, stopped = text.push(token)
        told += piece
        if stopped:
            break
    assert told + text.flush() == text.final() == whole
    last = Text(byte_level.stream(), ("\ufffd",))
    assert "".join(last.push(token)[0] for token in byte_level.encode("x\ufffd")) == "x"
    assert (last.flush(), last.final()) == ("", "x")


def test_special_tokens_are_named_and_add_nothing(byte_level: JsonTokenizer) -> None:
    end = byte_level.special_id("<|end|>")
    assert end is not None and byte_level.spell(end) == Spelling(end, "<|end|>", b"")
    assert byte_level.special_id("<tool>") is None  # added, but part of the text
    (tool,) = byte_level.encode("<tool>")
    assert byte_level.spell(tool) == Spelling(tool, "<tool>")


@pytest.mark.parametrize(
    "written", [["<0x02>", "<0x82>", "b", "▁hello"], ["b", "<0x82>", "a", "▁hello"]]
)
def test_bytes_that_make_no_character_do_not_end_a_text(
    byte_fallback: JsonTokenizer, written: list[str]
) -> None:
    said, spellings = spelled(byte_fallback, [FALLBACK[each] for each in written])
    assert said.endswith(("b hello", "a hello"))
    assert b"".join(each.added for each in spellings).decode(errors="replace") == said


def test_no_sequence_of_tokens_ends_a_stream(byte_fallback: JsonTokenizer) -> None:
    rng = random.Random(1)
    some = [
        FALLBACK[each]
        for each in ("<0x02>", "<0x82>", "<0xE6>", "<0x97>", "<0xA5>", "<0x41>", "</s>", *WORDS)
    ]
    for _ in range(3000):
        spelled(byte_fallback, [rng.choice(some) for _ in range(9)])
