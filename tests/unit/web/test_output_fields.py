"""Fields of generated JSON: which there are, their values as they were written, and the types of
their columns."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from web.jobs.output_fields import (
    MOST_FIELDS,
    ColumnType,
    OutputFields,
    field_text,
    fields_of,
    schema_fields,
    typed_cell,
)

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)


@settings(max_examples=50)
@given(st.dictionaries(st.text(), VALUES), st.sampled_from([None, 0, 2]), st.booleans())
def test_every_field_of_an_object_is_found_with_its_value(
    value: dict[str, Any], indent: int | None, is_ascii: bool
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=is_ascii)
    found = fields_of(f" {text}\n")
    assert list(found) == list(value)
    for name, each in value.items():
        if isinstance(each, str | bool) or each is None:
            assert found[name] == each
        else:
            assert json.loads(str(found[name])) == each


@given(st.text())
def test_text_that_is_no_object_has_no_fields(text: str) -> None:
    try:
        is_object = isinstance(json.loads(text), dict)
    except ValueError:
        is_object = False
    assert is_object or fields_of(text) == {}


@pytest.mark.parametrize(
    "text",
    [
        *("", "[1]", '"a"', "1", "{", '{"a": 1', '{"a": 1,}', '{"a": 1} x', "{a: 1}", '{"a" 1}'),
        *('{"a": NaN}', '{"a": }', '{"a": 1 "b": 2}', '{"a": "\n"}', '{"a": ' + "[" * 100_000),
    ],
)
def test_what_is_cut_or_no_json_has_no_fields(text: str) -> None:
    assert fields_of(text) == {}


def test_numbers_and_nested_values_stay_as_they_were_written() -> None:
    digits = "9" * 5000  # more than Python turns into a number
    text = f'{{"a": 1.50, "b": 1e999, "c": {digits}, "d": [ 1,2 ], "e": {{"x": "\\u00e9"}}}}'
    found = {name: field_text(value) for name, value in fields_of(text).items()}
    assert found == {
        "a": "1.50",
        "b": "1e999",
        "c": digits,
        "d": "[ 1,2 ]",
        "e": '{"x": "\\u00e9"}',
    }


def test_half_of_a_surrogate_pair_becomes_a_replacement_character() -> None:
    found = fields_of(r'{"a\ud800": "x\udc00y", "b": "\ud83d\ude00"}')
    assert found == {"a\ufffd": "x\ufffdy", "b": "\N{GRINNING FACE}"}


def test_of_a_name_that_is_there_twice_the_last_counts() -> None:
    assert fields_of('{"a": 1, "b": true, "a": "x"}') == {"a": "x", "b": True}


@pytest.mark.parametrize(
    ("values", "column"),
    [
        (["true", "null", "false"], "bool"),
        (["1", "-3", "null", "9007199254740993"], "int64"),
        (["1", "2.5", "1e3"], "double"),
        (["2.5", "9007199254740993"], "string"),  # a float would change the second
        (["1", "9" * 40], "string"),
        (["2.5", "1e999"], "string"),
        (["1", "true"], "string"),
        (['"x"', "1"], "string"),
        (["[1]", "{}"], "string"),
        (["null"], "string"),
    ],
)
def test_a_column_has_the_type_that_keeps_all_its_values(
    values: list[str], column: ColumnType
) -> None:
    fields, found = OutputFields(), [fields_of(f'{{"a": {value}}}') for value in values]
    for each in found:
        fields.look(each)
    assert fields.columns() == {"a": column}
    cells = [typed_cell(each["a"], column) for each in found]
    if column != "string":
        assert cells == [json.loads(value) for value in values]


def test_columns_are_two_hundred_at_most_and_those_of_the_schema_come_first() -> None:
    fields = OutputFields(["z", "y"])
    fields.look(fields_of(json.dumps({f"f{at}": at for at in range(300)} | {"y": 1})))
    fields.look(fields_of(json.dumps({"n" * 257: 1})))
    assert list(fields.columns())[:3] == ["z", "y", "f0"]
    assert len(fields.columns()) == MOST_FIELDS
    assert fields.columns()["y"] == "int64"


@pytest.mark.parametrize(
    ("schema", "names"),
    [
        ({"properties": {"b": {}, "a": {}}}, ["b", "a"]),
        ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"properties": {"x": {}}}}}, ["x"]),
        ({"$ref": "#"}, []),
        ({"$ref": "#/a/b"}, []),
        ({"$ref": "https://example.com"}, []),
        ({"properties": []}, []),
        ({}, []),
    ],
)
def test_a_schema_names_its_fields_in_its_order(schema: Any, names: list[str]) -> None:
    assert schema_fields({"json_schema": schema}) == names
    assert schema_fields({"json": True}) == []
