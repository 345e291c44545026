"""Lines of a batch's file: a request each, whatever a machine may have written there."""

from __future__ import annotations

import codecs
import io
import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from web.intake.text_lines import MARKS, ZIP
from web.openai import completion_window
from web.openai.answer_options import Endpoint
from web.openai.batch_input import BatchContext, first_model, parse_lines, read_lines

CHAT: Endpoint = "/v1/chat/completions"
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
COMPLETIONS = "/v1/completions"
ALIASES = {"echo": "echo", "other": "other", "gpt-4o": "echo"}
LINES = st.fixed_dictionaries(
    {},
    optional={
        "custom_id": VALUES | st.just("a"),
        "method": VALUES | st.just("POST"),
        "url": VALUES | st.just(CHAT),
        "body": VALUES
        | st.fixed_dictionaries({"model": st.just("echo")}, optional={"messages": VALUES}),
    },
)


def line(**fields: Any) -> dict[str, Any]:
    body = {"model": "echo", "messages": [{"role": "user", "content": "x"}]}
    return {"custom_id": "a", "method": "POST", "url": CHAT, "body": body} | fields


def read(*lines: Any) -> list[Any]:
    content = b"\n".join(
        each if isinstance(each, bytes) else json.dumps(each).encode() for each in lines
    )
    return list(
        read_lines(
            parse_lines(io.BytesIO(content)),
            BatchContext(CHAT, "echo", lambda name: ALIASES.get(name, name)),
        )
    )


@given(
    st.lists(
        LINES | VALUES | st.binary(max_size=20).filter(lambda raw: b"\n" not in raw), max_size=4
    )
)
def test_no_line_breaks_the_reader_and_each_is_told_of_once(lines: list[Any]) -> None:
    # Files that begin so are refused as a whole, or read as UTF-16.
    first = lines[0] if lines and isinstance(lines[0], bytes) else b""
    assume(not first.startswith((ZIP, *(mark for mark in MARKS if mark != codecs.BOM_UTF8))))
    drafts = read(*lines)
    blank = [isinstance(line, bytes) and not line.strip() for line in lines]
    if not blank or not isinstance(lines[0], bytes) or not lines[0].startswith(b"\xef\xbb\xbf"):
        assert [draft.line for draft in drafts] == [
            number for number, skip in enumerate(blank, 1) if not skip
        ]
    for draft in drafts:
        assert draft.fault or isinstance(draft.value["custom_id"], str)


def test_a_line_says_all_that_is_wrong_with_it() -> None:
    (draft,) = read({"custom_id": "a"})
    assert draft.code == "missing_field" and draft.fault == "body is required"
    (draft,) = read({"method": "GET"})
    assert (draft.fault or "").startswith("custom_id is required; method must be 'POST'")


def test_a_good_line_is_an_item_under_its_name() -> None:
    (draft,) = read(line())
    assert draft.fault is None and draft.refused is None
    assert draft.value["custom_id"] == "a" and draft.value["messages"] == [
        {"role": "user", "content": "x"}
    ]


def test_a_line_without_url_and_method_is_for_the_batchs_endpoint() -> None:
    body = line()["body"]
    for short in (
        {"custom_id": "a", "body": body},
        line(method=None, url=None, extra=None),
        line(url=CHAT + "/"),
    ):
        (draft,) = read(short)
        assert draft.fault is None and draft.refused is None and draft.value["messages"]


@pytest.mark.parametrize(
    ("sent", "told"), [(1, "1"), (1.0, "1"), ("2", "2"), (-3, "-3"), ("a", "a")]
)
def test_a_custom_id_may_be_a_number_and_comes_back_as_text(sent: Any, told: str) -> None:
    (draft,) = read(line(custom_id=sent))
    assert draft.value["custom_id"] == told


@pytest.mark.parametrize("sent", [True, 1.5, [], {}, ""])
def test_other_custom_ids_are_refused(sent: Any) -> None:
    (draft,) = read(line(custom_id=sent))
    assert draft.fault and draft.field == "custom_id"


def test_a_line_may_be_for_the_other_endpoint() -> None:
    (draft,) = read(line(url=COMPLETIONS, body={"model": "echo", "prompt": "x"}))
    assert draft.value["prompt"] == "x" and draft.default_max_tokens == 16
    assert draft.kept == {"ask": {"endpoint": COMPLETIONS}}
    (draft,) = read(line(url="/v1/embeddings"))
    assert draft.code == "url_mismatch" and "/v1/completions" in (draft.fault or "")


def test_aliases_are_resolved_before_models_are_compared() -> None:
    body = line()["body"]
    drafts = read(
        line(), line(body=body | {"model": "gpt-4o"}), line(body=body | {"model": "other"})
    )
    assert [draft.code for draft in drafts if draft.fault] == ["model_mismatch"]
    assert [draft.kept for draft in drafts[:2]] == [{}, {"ask": {"model": "gpt-4o"}}]


@pytest.mark.parametrize("name", ["tags", "id", "comment", "priority"])
def test_an_unknown_field_of_a_line_is_ignored(name: str) -> None:
    (draft,) = read(line(**{name: 1}))
    assert draft.fault is None and draft.refused is None


@pytest.mark.parametrize("name", ["temperature", "max_token", "messages", "custom_ids", "methods"])
def test_a_field_that_was_meant_to_have_an_effect_is_its_lines_error(name: str) -> None:
    (draft,) = read(line(**{name: 1}))
    assert draft.fault is None and draft.refused and draft.refused["field"] == name


def test_a_line_of_thousands_of_fields_is_refused_without_looking_at_each() -> None:
    (draft,) = read(line(**{f"field{number}": 1 for number in range(4000)}))
    assert draft.refused and "4,000 unknown fields" in str(draft.refused["message"])


def test_blank_lines_are_skipped_and_too_many_of_them_told() -> None:
    drafts = read(b"", line(), b"  ", b"\t", line(custom_id="b"), b"")
    assert [draft.line for draft in drafts] == [2, 5]
    (_, last) = read(line(), b"\n" * 100_000)
    assert (last.code, last.line) == ("too_many_blank_lines", 100_001)


def test_the_batchs_model_is_the_first_that_is_named() -> None:
    lines = [
        b"{",
        [1],
        line(body=3),
        line(body={"model": 5}),
        line(body={"model": "second"}),
        line(),
    ]
    content = b"\n".join(
        each if isinstance(each, bytes) else json.dumps(each).encode() for each in lines
    )
    assert first_model(parse_lines(io.BytesIO(content))) == "second"
    assert first_model(parse_lines(io.BytesIO(b""))) is None


@pytest.mark.parametrize(
    ("window", "seconds"),
    [
        ("24h", 86400),
        ("90m", 5400),
        ("1h30m", 5400),
        ("0h1m", 60),
        ("", 0),
        ("h", 0),
        ("24", 0),
        ("1d", 0),
        ("24H", 0),
        ("-1h", 0),
        ("1.5h", 0),
        ("30m1h", 0),
        ("24h ", 0),
        ("٣h", 0),
    ],
)
def test_a_window_is_hours_and_minutes(window: str, seconds: int) -> None:
    assert completion_window.seconds(window) == seconds
