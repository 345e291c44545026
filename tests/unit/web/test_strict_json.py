"""What other parsers let through stops here, and all that is good JSON passes unchanged."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.intake.strict_json import BadJson, parse

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(values)
def test_good_json_is_read_as_it_was_written(value: object) -> None:
    assert parse(json.dumps(value)) == value
    assert parse(json.dumps(value, ensure_ascii=False).encode()) == value


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1, "a": 2}',
        '[{"b": {"a": 1, "a": 1}}]',
        "NaN",
        "[Infinity]",
        "-Infinity",
        "1e999",
        "-1e999",
        '"\\ud800"',
        '{"\\udc00": 1}',
        "",
        "[1,]",
        "{'a': 1}",
        "1 2",
        "9" * 5000,
        "[" * 100_000,
        '{"a":' * 100_000,
    ],
)
def test_bad_json_is_refused(text: str) -> None:
    with pytest.raises(BadJson):
        parse(text)


def test_a_whole_surrogate_pair_is_a_character() -> None:
    assert parse('"\\ud83d\\ude00"') == "😀"


def test_a_huge_object_with_a_repeated_key_is_refused_at_once() -> None:
    text = "{" + ",".join(f'"k{index}": 0' for index in range(50_000)) + ', "k49999": 1}'
    began = time.monotonic()
    with pytest.raises(BadJson, match="k49999"):
        parse(text)
    assert time.monotonic() - began < 5


def test_a_message_says_where_but_not_what() -> None:
    with pytest.raises(BadJson) as refusal:
        parse('{"prompt": "' + "secret" * 1000 + '" x')
    assert "column 6015" in str(refusal.value)
    assert "secret" not in str(refusal.value)
