"""Long lists are read an entry at a time, and say what `parse` would have said of the whole."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.intake import json_lists
from web.intake.json_lists import Entries, Pairs, TooLong, read_object
from web.intake.strict_json import MOST_PARTS, MOST_VALUES, SMALL, BadJson, TooMuch, parse

LISTS = {"items": 1000}
PAD = "x" * SMALL  # makes a body long enough to be read piece by piece

numbers = st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


def whole(found: dict[str, Any]) -> dict[str, Any]:
    return {
        name: list(value) if isinstance(value, Entries) else value for name, value in found.items()
    }


@given(
    st.lists(values, max_size=8),
    st.dictionaries(st.text(), values, max_size=3),
    st.integers(36, 80),
    st.booleans(),
)
def test_every_window_reads_what_parse_reads(
    items: list[Any], beside: dict[str, Any], window: int, ascii: bool
) -> None:
    body = beside | {"items": items, "last": 1}
    raw = json.dumps(body, ensure_ascii=ascii).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_lists, "SMALL", window)
        found = read_object(raw, LISTS)
    assert whole(found) == body


@given(st.dictionaries(st.text(), values, max_size=8), st.integers(36, 80), st.booleans())
def test_every_window_reads_the_pairs_that_parse_reads(
    items: dict[str, Any], window: int, ascii: bool
) -> None:
    raw = json.dumps({"first": [{}], "items": items, "last": 1}, ensure_ascii=ascii).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_lists, "SMALL", window)
        found = read_object(raw, LISTS)["items"]
    assert len(found) == len(items)
    assert (list(found) if isinstance(found, Pairs) else list(found.items())) == list(items.items())


@pytest.mark.parametrize("size", [4095, 4096, 4097, 60_000])
def test_a_named_object_may_have_more_keys_than_others(size: int) -> None:
    items = {str(n): "" for n in range(size)}
    found = read_object(json.dumps({"items": items}).encode(), {"items": 60_000})["items"]
    assert dict(found) == items


@given(st.binary(max_size=60), st.integers(0, 60), st.integers(8, 30))
def test_what_is_no_json_is_none_in_any_window(noise: bytes, place: int, window: int) -> None:
    raw = b'{"items": ["a", {"b": [1, 2.5e3]}, "\xc3\xa9\\n"], "model": "echo", "n": null}'
    raw = raw[:place] + noise + raw[place:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_lists, "SMALL", window)
        try:
            expected = parse(raw)
        except BadJson:
            with pytest.raises(BadJson):
                read_object(raw, LISTS)
        else:
            found = read_object(raw, LISTS)
            assert (whole(found) if isinstance(found, dict) else found) == expected


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ('{"items": ["%s", tru]}', "column 65552: Expecting value"),
        ('{"items": ["%s"\n, "a" "b"]}', "line 2, column 7: Expecting ','"),
        ('{"items": ["%s"], "items": []}', "'items' appears more than once"),
        ('{"items": {"%s": 1, "a": 1, "a": 2}}', "'a' appears more than once in items"),
        ('{"items": {"%s": 1, "a" 1}}', "Expecting ':'"),
        ('{"items": ["%s"]} {}', "Extra data"),
        ('{"items": ["%s"],}', "property name"),
        ('{"items": ["%s", "\\ud800"]}', "surrogate"),
        ('{"items": ["%s", 1e999]}', "too large"),
        ('{"items": ["%s", {"a": 1, "a": 2}]}', "'a' appears more than once"),
        ('{"items": ["%s", "a', "Unterminated"),
        ('{"items": ["%s"', "Expecting ','"),
    ],
)
def test_what_is_wrong_in_a_long_body_is_said_with_its_place(body: str, says: str) -> None:
    with pytest.raises(BadJson) as refused:
        read_object((body % PAD).encode(), LISTS)
    assert says in str(refused.value)


def test_bytes_that_are_no_utf8_are_named_by_their_place() -> None:
    raw = b'{"items": ["' + PAD.encode() + b'", "\xff"]}'
    with pytest.raises(BadJson, match=f"byte {raw.index(0xFF) + 1}"):
        read_object(raw, LISTS)


def test_a_list_longer_than_it_may_be_is_refused_before_its_end() -> None:
    began = time.monotonic()
    with pytest.raises(TooLong, match="items has more than 1,000"):
        read_object(b'{"items": [' + b'"a",' * 4_000_000, LISTS)
    assert time.monotonic() - began < 1


def test_an_object_with_more_keys_than_it_may_have_is_refused() -> None:
    raw = json.dumps({"items": {str(n): "text" * 9 for n in range(2000)}}).encode()
    with pytest.raises(TooLong, match="items has more than 1,000"):
        read_object(raw, LISTS)


@pytest.mark.parametrize(
    "value",
    [
        b"[" + b"{}," * MOST_PARTS + b"{}]",
        b"{" + b",".join(b'"%d":1' % n for n in range(MOST_PARTS + 1)) + b"}",
        b"[" + b"1," * (MOST_VALUES + 1) + b"1]",
        b"[" + b'"",' * MOST_PARTS + b'""]',
        b"{" + b",".join(b'"k%d":1' % n for n in range(5000)) + b"}",
    ],
    ids=["objects", "keys", "numbers", "texts", "keys of one object"],
)
def test_a_value_that_holds_too_much_is_not_built(value: bytes) -> None:
    for raw in (value, b'{"items": [' + value + b"]}", b'{"beside": ' + value + b"}"):
        with pytest.raises(TooMuch):
            read_object(raw, LISTS)


def test_brackets_and_commas_in_text_are_text() -> None:
    text = '{"[,:]} \\"\\\\' * 200_000
    raw = json.dumps({"items": [text, [text]], "model": text[:1000]}).encode()
    assert whole(read_object(raw, LISTS))["items"] == [text, [text]]
    assert parse(json.dumps(text)) == text
