"""Calls are read out of answers as every family of models writes them; all else stays text."""

from __future__ import annotations

import itertools
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.structured.tool_calls import BEGIN, Arguments, Called, CallReader, Part, Said

NAMES = ("weather", "add")
HERMES = '<tool_call>\n{"name": "weather", "arguments": {"city": "Köln"}}\n</tool_call>'
OTHER = '<tool_call>\n{"arguments": {"a": [1, {"b": "}"}]}, "name": "add"}\n</tool_call>'
LLAMA = '{"name": "weather", "parameters": {"city": "Köln"}}'
MISTRAL = '[{"name": "weather", "arguments": {"city": "Köln"}}, {"name": "add", "arguments": {}}]'


def read(
    text: str, cuts: tuple[int, ...] = (), *, cut: bool = False, **how: bool
) -> tuple[str, list[tuple[str, str]]]:
    """The text of an answer and its calls, with their arguments."""
    reader = CallReader(NAMES, **how)
    places = [0, *sorted(cuts), len(text)]
    parts: list[Part] = []
    for begin, end in itertools.pairwise(places):
        parts += reader.feed(text[begin:end])
    parts += reader.finish(cut=cut)
    said = ""
    calls: list[tuple[str, str]] = []
    for part in parts:
        match part:
            case Said(more):
                assert more
                said += more
            case Called(index, name):
                assert index == len(calls)
                calls.append((name, ""))
            case Arguments(index, more):
                calls[index] = (calls[index][0], calls[index][1] + more)
    assert reader.count == len(calls)
    return said, calls


KOELN = ("weather", '{"city": "Köln"}')


@pytest.mark.parametrize(
    ("text", "said", "calls"),
    [
        (HERMES, "", [KOELN]),
        (f"{HERMES}\n{OTHER}", "", [KOELN, ("add", '{"a": [1, {"b": "}"}]}')]),
        (f"Let me look.\n\n{HERMES}\n", "Let me look.", [KOELN]),
        (f"{HERMES} Wait.", " Wait.", [KOELN]),
        (HERMES.removesuffix("</tool_call>"), "", [KOELN]),
        (LLAMA, "", [KOELN]),
        (f"\n{LLAMA}; {LLAMA}", "", [KOELN, KOELN]),
        (f"<|python_tag|>{LLAMA}", "", [KOELN]),
        (MISTRAL, "", [KOELN, ("add", "{}")]),
        (f"[TOOL_CALLS] {MISTRAL}", "", [KOELN, ("add", "{}")]),
        ('{"name": "add", "arguments": "{\\"a\\": 1}"}', "", [("add", '{"a": 1}')]),
    ],
)
def test_each_family_s_calls_are_read(text: str, said: str, calls: list[tuple[str, str]]) -> None:
    assert read(text) == (said, calls)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "Hello, {name}!",
        '{"city": "Köln"}',
        '{"name": "other", "arguments": {}}',
        '{"name": "add"}',
        '{"name": "add", "arguments": [1]}',
        '{"name": "add", "arguments": {"a": NaN}}',
        '{"name": "add", "arguments": {"a": "\n"}}',
        '{"name": "add", "arguments": {"a": 1}',
        '{"name": "add", "arguments": {"a": 1]}',
        f"The call is {LLAMA}",
        "[1, 2]",
        "[TOOL_CALLS",
        "a <tool_call",
        '<tool_call>{"name": "other", "arguments": {}}</tool_call>',
        "<tool_call>weather</tool_call> \n",
        "<tool_call><tool_call>",
        '<tool_call>{"name": "add", "arguments": ' + '{"a":' * 5000,
        '<tool_call>{"name": "add", "arguments": ' + '{"a":' * 50_000 + "1" + "}" * 50_001,
    ],
)
def test_what_is_no_call_stays_text_as_it_is(text: str) -> None:
    assert read(text) == (text, [])


def test_a_call_after_a_bad_one_is_read() -> None:
    assert read(f"<tool_call> oops {HERMES}") == ("<tool_call> oops", [KOELN])


ALL = (
    HERMES,
    OTHER,
    LLAMA,
    MISTRAL,
    "<tool_call>",
    "</tool_call>",
    "{",
    "}",
    '"',
    "[",
    ";",
    ",",
    " ",
    "a",
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(ALL), max_size=6).map("".join), st.data())
def test_an_answer_reads_the_same_however_it_is_cut(text: str, data: Any) -> None:
    ways: tuple[dict[str, Any], ...] = ({}, {"forced": True}, {"single": True})
    for how in ways:
        cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=8))
        assert read(text, tuple(cuts), **how) == read(text, **how)
        assert read(text, tuple(range(len(text))), **how) == read(text, **how)
        off = read(text, tuple(range(len(text))), cut=True, **how)
        assert off == read(text, tuple(cuts), cut=True, **how)


def test_a_forced_call_is_told_while_it_is_written() -> None:
    reader = CallReader(NAMES, forced=True)
    told: list[Part] = []
    for place, char in enumerate(HERMES):
        new = reader.feed(char)
        if any(isinstance(part, Called) for part in new):
            assert HERMES[: place + 1].endswith('"weather"')
        told += new
    assert told[0] == Called(0, "weather")
    assert len(told) > 10
    assert "".join(part.text for part in told[1:] if isinstance(part, Arguments)) == KOELN[1]


def test_a_forced_call_that_is_cut_off_keeps_what_there_is() -> None:
    text = HERMES[: HERMES.index("Köln") + 2]
    assert read(text, forced=True) == ("", [("weather", '{"city": "Kö')])
    assert read('<tool_call>\n{"na', forced=True) == ('<tool_call>\n{"na', [])


STYLES = (
    f"{HERMES}\n{HERMES}",
    f"\n{LLAMA}",
    MISTRAL,
    f"[TOOL_CALLS] {MISTRAL}",
)


@pytest.mark.parametrize("text", STYLES)
@pytest.mark.parametrize("single", [False, True])
def test_no_beginning_of_a_call_that_must_be_made_is_text(text: str, single: bool) -> None:
    whole = read(text, forced=True, single=single)[1]
    for end in range(len(text)):
        said, calls = read(text[:end], forced=True, single=single, cut=True)
        assert said == ""
        for (name, arguments), (full_name, full) in zip(calls, whole, strict=False):
            assert name == full_name and full.startswith(arguments)


@pytest.mark.parametrize("text", [f"{HERMES}\n{HERMES}", f"Let me look.\n\n{HERMES}"])
def test_no_beginning_of_a_call_that_may_be_made_is_text(text: str) -> None:
    before = text[: text.index(BEGIN)].strip()
    for end in range(len(before) + 2 + len("<tool"), len(text)):
        said, calls = read(text[:end], cut=True)
        assert said == before
        assert bool(calls) == ('"weather"' in text[:end])


@pytest.mark.parametrize(
    ("text", "said", "calls"),
    [
        # JSON that may be the answer, a name's beginning, and what any text may end with
        ('{"name": "weather", "city": "K', '{"name": "weather", "city": "K', []),
        ('{"name": "wea', '{"name": "wea', []),
        ("a <", "a <", []),
        ("[", "[", []),
        ("", "", []),
        # what is a call
        (LLAMA[:-3], "", [("weather", '{"city": "Köln')]),
        ("<|python_tag|>{", "", []),
        ("[TOOL_CALLS] [", "", []),
        (f"{HERMES}\n<", "", [KOELN]),
        (f"{MISTRAL[:-2]}, {{", "", [KOELN, ("add", "{}")]),
        (f"{HERMES} Well <", " Well <", [KOELN]),
        ('<tool_call>{"name": "add", "arguments": "{\\"a\\": 1}"', "", [("add", "")]),
    ],
)
def test_what_is_cut_off_is_text_where_it_may_be(
    text: str, said: str, calls: list[tuple[str, str]]
) -> None:
    assert read(text, cut=True) == (said, calls)


def test_where_one_call_is_wanted_later_ones_do_not_count() -> None:
    assert read(f"{HERMES}\n{OTHER}", single=True) == ("", [KOELN])


def test_arguments_are_json() -> None:
    (_, arguments), *_ = read(OTHER)[1]
    assert json.loads(arguments) == {"a": [1, {"b": "}"}]}


LONG = 200_000  # characters


@pytest.mark.parametrize(
    "text",
    [
        " " * LONG,
        " <" * (LONG // 2),
        "<tool_call>" * (LONG // 11),
        "<tool_call>{" * (LONG // 12),
        '{"name": "add", "arguments": {}}; ' * (LONG // 34),
        '<tool_call>{"name": "add", "arguments": {"a": "' + "\\n" * (LONG // 2) + '"}}',
        '<tool_call>{"name": "add", "arguments": {"a": ' + "[" * (LONG // 2),
    ],
    ids=["space", "angles", "tags", "open tags", "calls", "escapes", "depth"],
)
def test_no_answer_takes_long_to_read(text: str) -> None:
    began = time.process_time()
    read(text)
    assert time.process_time() - began < 3
