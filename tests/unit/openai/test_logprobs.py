"""The tokens of an answer: their bytes, joined, are its text, whole and streamed; their offsets are
in characters."""

from __future__ import annotations

import random
from typing import Any

import pytest

from common.result_row import TokenLogprob
from web.openai.logprobs import (
    LogprobAligner,
    PlacedLogprob,
    chat_logprobs,
    completion_logprobs,
    prompt_logprobs,
)


def entry(added: bytes | str, *, special: str | None = None) -> Any:
    """A token as a row has it."""
    found: dict[str, Any] = {"token_id": 1, "logprob": -0.5, "top": []}
    if special:
        return found | {"token": special, "bytes": []}
    if isinstance(added, str):
        return found | {"token": added}
    return found | {"token": added.decode(errors="backslashreplace"), "bytes": list(added)}


JAPANESE = [entry(b"\xe6\x97"), entry(b"\xa5"), entry("本"), entry(b"\xe8"), entry(b"\xaa\x9e")]
HELLO = [*JAPANESE, entry(" hello"), entry(" world")]


def joined(found: list[PlacedLogprob]) -> str:
    told = chat_logprobs(found)
    assert told
    return bytes(byte for each in told["content"] for byte in each["bytes"]).decode()


def shown(
    entries: list[TokenLogprob], text: str, reason: str = "stop", start: int = 0
) -> list[PlacedLogprob]:
    window = LogprobAligner(start)
    return window.push(entries, text) + window.finish(reason)


def test_offsets_are_those_of_characters_that_tokens_begin_or_go_on_with() -> None:
    told = completion_logprobs(shown(HELLO, "日本語 hello world"))
    assert told and told["text_offset"] == [0, 0, 1, 2, 2, 3, 9]
    assert told["tokens"][:3] == ["bytes:\\xe6\\x97", "bytes:\\xa5", "本"]
    assert told["tokens"][5:] == [" hello", " world"]


def test_a_part_of_a_character_has_its_bytes_and_a_name() -> None:
    told = chat_logprobs(shown(JAPANESE, "日本語"))
    assert told and [each["token"] for each in told["content"]][:2] == ["\\xe6\\x97", "\\xa5"]
    assert (
        all(each["bytes"] for each in told["content"])
        and joined(shown(JAPANESE, "日本語")) == "日本語"
    )


@pytest.mark.parametrize("end", [entry("", special="<|im_end|>"), entry("STOP")])
def test_what_ended_the_text_is_no_part_of_it(end: TokenLogprob) -> None:
    assert joined(shown([*HELLO, end], "日本語 hello world")) == "日本語 hello world"
    assert len(shown([*HELLO, end], "日本語 hello world")) == len(HELLO)


def test_a_token_that_a_stop_string_cut_keeps_its_beginning() -> None:
    found = shown([entry("one"), entry(" twoEND"), entry("!")], "one two")
    assert joined(found) == "one two" and [each["token"] for each in found] == ["one", " twoEND"]


def test_special_tokens_inside_a_text_are_told_and_add_nothing() -> None:
    found = shown(
        [entry("a"), entry("", special="<x>"), entry("b"), entry("", special="<end>")], "ab"
    )
    assert [each["token"] for each in found] == ["a", "<x>", "b"] and joined(found) == "ab"


def test_a_text_cut_for_length_keeps_all_tokens() -> None:
    assert len(shown([*HELLO, entry(b"\xe6")], "日本語 hello world", "length")) == len(HELLO) + 1


def test_a_prompts_tokens_are_all_told_with_offsets() -> None:
    found = prompt_logprobs([entry("", special="<s>"), *HELLO], "日本語 hello world")
    assert [each["offset"] for each in found] == [0, 0, 0, 1, 2, 2, 3, 9]


def test_special_tokens_that_a_prompt_has_written_count_as_characters() -> None:
    asked = [
        entry("", special="<s>"),
        entry("x "),
        entry("", special="<end>"),
        entry(" a"),
        entry("é"),
    ]
    assert [each["offset"] for each in prompt_logprobs(asked, "x <end> aé")] == [0, 0, 2, 7, 9]


@pytest.mark.parametrize("seed", range(30))
def test_a_stream_in_any_pieces_tells_what_the_whole_answer_tells(seed: int) -> None:
    rng = random.Random(seed)
    text = "".join(rng.choice(["日", "é", "x", "😀", " ", "ab"]) for _ in range(20))
    raw, entries = text.encode(), []
    while raw:
        size = rng.randint(1, 4)
        part, raw = raw[:size], raw[size:]
        try:
            entries.append(entry(part.decode()))
        except UnicodeDecodeError:
            entries.append(entry(part))
    entries.append(entry("", special="<end>"))
    expected = shown(entries, text, start=5)
    assert joined(expected) == text

    window, found, told, place = LogprobAligner(5), [], 0, 0
    while place < len(entries):
        step = rng.randint(1, 3)
        now = bytes(
            byte
            for each in entries[: place + step]
            for byte in each.get("bytes", each["token"].encode())
        )
        certain = now.decode(errors="ignore")[: rng.randint(0, len(text))]
        found += window.push(
            entries[place : place + step], certain[told:] if len(certain) > told else ""
        )
        told, place = max(told, len(certain)), place + step
    found += window.push([], text[told:]) + window.finish("stop")
    assert found == expected
