"""The JSON Schema test suite: a schema is refused by name, or its grammar allows nothing that the
suite calls invalid, and leaves out only what the documentation says."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from common.errors import InvalidRequest
from common.structured.formats import FORMATS
from common.structured.grammar import json_grammar
from common.structured.guidance import byte_guide
from common.structured.keywords import REFUSED
from tests.support.json_schema_suite import cases

PAGE = Path(__file__).parents[3] / "docs" / "structured-output.md"

# What is left out, by file: a number written as 1.0, another order of properties, white space that
# is not ASCII, rare ways to write a format. In format.json formats are annotations.
LEFT_OUT = {
    "allOf.json": 2,
    "const.json": 5,
    "enum.json": 4,
    "format.json": 10,
    "multipleOf.json": 1,
    "optional/anchor.json": 1,
    "optional/bignum.json": 2,
    "optional/ecmascript-regex.json": 4,
    "optional/float-overflow.json": 1,
    "optional/format/date-time.json": 3,
    "optional/format/email.json": 5,
    "optional/format/hostname.json": 2,
    "optional/format/ipv6.json": 4,
    "optional/format/time.json": 7,
    "type.json": 1,
    "vocabulary.json": 1,
}


@cache
def outcomes() -> tuple[list[str], Counter[str], dict[str, list[str]], Counter[str]]:
    """What the grammars allow wrongly; how much they leave out, by file; why schemas are refused,
    by file; and how many are honoured."""
    guide = byte_guide()
    wrong, left_out, refused, honoured = [], Counter[str](), dict[str, list[str]](), Counter[str]()
    for name, several in cases().items():
        for case in several:
            if isinstance(case["schema"], bool):
                continue
            try:
                begun = guide.matcher(json_grammar(case["schema"], "schema"))
            except InvalidRequest as error:
                refused.setdefault(name, []).append(error.message)
                continue
            honoured[name] += 1
            for valid, text, about in _texts(case):
                matcher = begun.copy()
                allowed = all(map(matcher.accept, text)) and matcher.can_end
                left_out[name] += valid and not allowed
                if allowed and not valid:
                    wrong.append(f"{name}: {about}")
    return wrong, +left_out, refused, honoured


def _texts(case: dict[str, Any]) -> Iterator[tuple[bool, bytes, str]]:
    for test in case["tests"]:
        text = json.dumps(test["data"], separators=(",", ":"), ensure_ascii=False)
        try:
            yield test["valid"], text.encode(), f"{case['description']}: {test['description']}"
        except UnicodeEncodeError:  # half of a surrogate pair, which is no text
            continue


def test_no_grammar_allows_what_the_suite_calls_invalid() -> None:
    wrong, _, _, honoured = outcomes()
    assert honoured.total() > 200
    assert wrong == []


def test_grammars_leave_out_no_more_than_is_known() -> None:
    assert outcomes()[1] == LEFT_OUT


def test_every_refusal_names_a_keyword_and_its_place() -> None:
    for messages in outcomes()[2].values():
        for message in messages:
            assert re.search(r"#\S* (?:is|has|leads|must|can|may|combines) ", message) or (
                "allows no text that ends" in message
            ), message


def test_what_is_refused_is_in_the_documentation() -> None:
    page = PAGE.read_text()
    for keyword in [*REFUSED, "uniqueItems", "$id"]:
        assert f"`{keyword}`" in page, keyword
    for name in FORMATS:
        assert f"`{name}`" in page, name


@pytest.mark.parametrize("name", ["enum.json", "required.json", "minLength.json", "pattern.json"])
def test_plain_keywords_are_honoured_in_every_case(name: str) -> None:
    assert name not in outcomes()[2]
