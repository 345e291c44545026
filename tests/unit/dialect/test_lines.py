"""Lines of a batch's file: a request each, whatever a machine may have written there."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.dialect import windows
from web.dialect.lines import model_of, read_lines, split

CHAT = "/v1/chat/completions"
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
LINES = st.fixed_dictionaries(
    {},
    optional={
        "custom_id": VALUES | st.just("a"), "method": VALUES | st.just("POST"), "url": VALUES | st.just(CHAT),
        "body": VALUES | st.fixed_dictionaries({"model": st.just("echo")}, optional={"messages": VALUES}),
    },
)  # fmt: skip


def line(**fields: Any) -> dict[str, Any]:
    body = {"model": "echo", "messages": [{"role": "user", "content": "x"}]}
    return {"custom_id": "a", "method": "POST", "url": CHAT, "body": body} | fields


def read(*lines: Any) -> list[Any]:
    content = b"\n".join(each if isinstance(each, bytes) else json.dumps(each).encode() for each in lines)
    return list(read_lines(split(io.BytesIO(content)), CHAT, "echo"))


@given(st.lists(LINES | VALUES | st.binary(max_size=20).filter(lambda raw: b"\n" not in raw), max_size=4))
def test_no_line_breaks_the_reader_and_each_is_told_of_once(lines: list[Any]) -> None:
    drafts = read(*lines)
    numbers = [draft.line for draft in drafts]
    assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) in (len(lines), len(lines) - 1)
    for draft in drafts:
        assert draft.fault or isinstance(draft.value["custom_id"], str)


def test_a_line_says_all_that_is_wrong_with_it() -> None:
    (draft,) = read({"custom_id": "a"})
    assert draft.code == "missing_field" and draft.fault == "method is required; url is required; body is required"


def test_a_good_line_is_an_item_under_its_name() -> None:
    (draft,) = read(line())
    assert draft.fault is None and draft.refused is None
    assert draft.value["custom_id"] == "a" and draft.value["messages"] == [{"role": "user", "content": "x"}]


def test_the_batchs_model_is_the_first_that_is_named() -> None:
    lines = [b"{", [1], line(body=3), line(body={"model": 5}), line(body={"model": "second"}), line()]
    content = b"\n".join(each if isinstance(each, bytes) else json.dumps(each).encode() for each in lines)
    assert model_of(split(io.BytesIO(content))) == "second"
    assert model_of(split(io.BytesIO(b""))) is None


@pytest.mark.parametrize(
    ("window", "seconds"),
    [("24h", 86400), ("90m", 5400), ("1h30m", 5400), ("0h1m", 60), ("", 0), ("h", 0), ("24", 0), ("1d", 0),
     ("24H", 0), ("-1h", 0), ("1.5h", 0), ("30m1h", 0), ("24h ", 0), ("٣h", 0)],
)  # fmt: skip
def test_a_window_is_hours_and_minutes(window: str, seconds: int) -> None:
    assert windows.seconds(window) == seconds
