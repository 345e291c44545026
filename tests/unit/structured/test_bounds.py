"""What is refused before llguidance sees it: keywords by name and place, too much of anything."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from common.errors import InvalidRequest
from common.structured.grammar import Grammar, grammar_of, json_grammar, json_rule
from common.structured.guidance import byte_guide
from common.structured.output_format import OutputFormat

FLAG: dict[str, Any] = {"type": "boolean"}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"not": {}}, "#/not is not supported"),
    ({"properties": {"a": {"if": {}, "then": {}}}}, "#/properties/a/if is not supported"),
    ({"items": {"contains": {}}}, "#/items/contains is not supported"),
    ({"anyOf": [{}, {"uniqueItems": True}]}, "#/anyOf/1/uniqueItems is not supported"),
    ({"properties": {"a/b~c": {"x-guidance": {}}}}, "#/properties/a~1b~0c/x-guidance is not"),
    ({"x-guidance": {"lenient": True}}, "#/x-guidance is not supported"),
    ({"$defs": {"a": {"not": {}}}, "$ref": "#/$defs/a"}, "#/$defs/a/not is not supported"),
    ({"components": {"a": {"not": {}}}, "$ref": "#/components/a"}, "#/components/a/not is not"),
    ({"const": {"x-guidance": {"not": {}}}, "$ref": "#/const"}, "#/const/x-guidance is not"),
    ({"$ref": "https://example.org/schema"}, "#/$ref leads to another document"),
    ({"$ref": "#/$defs/none"}, "#/$ref leads nowhere"),
    ({"$ref": "#none"}, "#/$ref leads nowhere"),
    ({"properties": {"a": {"$id": "b"}}}, "#/properties/a/$id is not supported"),
    ({"requierd": ["a"]}, "#/requierd is not known; did you mean required?"),
    ({"type": "text"}, "#/type must be one of"),
    ({"type": []}, "#/type must be one of"),
    ({"items": [FLAG]}, "#/items must be a schema"),
    ({"properties": {"a": 5}}, "#/properties must be an object of schemas"),
    ({"required": ["a", "a"]}, "#/required must be a list of names, none twice"),
    ({"enum": []}, "#/enum must be a list of values"),
    ({"minLength": -1}, "#/minLength must be a whole number"),
    ({"minLength": True}, "#/minLength must be a whole number"),
    ({"maximum": "5"}, "#/maximum must be a number"),
    ({"pattern": "(?=a)"}, "#/pattern has a look-around"),
    ({"patternProperties": {"a\\b": {}}}, "#/patternProperties/a\\b has \\b"),
    ({"pattern": "(a{1,500}){1,500}"}, "#/pattern repeats something up to 250,000 times"),
    ({"format": "color"}, "#/format is 'color', which is not known"),
    ({"minProperties": 2}, "#/minProperties may be 1"),
    ({"multipleOf": 0.00000000001}, "#/multipleOf has more than 9 digits"),
    ({"allOf": [{"multipleOf": 97}, {"multipleOf": 0.89}]}, "# combines multipleOf whose least"),
    ({"allOf": [{"pattern": "a"}] * 4 + [{"format": "date"}]}, "# combines more than 4 patterns"),
    (
        {"pattern": "a", "$ref": "#/$defs/x", "$defs": {"x": {"allOf": [{"pattern": "b"}] * 4}}},
        "# combines more than 4 patterns",
    ),
    (
        {"anyOf": [{"pattern": "a?x" * 900}] * 3},
        "is one of more than 2,000 repetitions in patterns",
    ),
    # What only llguidance finds.
    ({"properties": {"a": {"oneOf": [{"minimum": 1}, {"maximum": 5}]}}}, "#/properties/a has alt"),
    ({"patternProperties": {"^a": {}, "b$": FLAG}}, "# has patternProperties that may match the s"),
    ({"type": "integer", "minimum": 5, "maximum": 2}, "# can never be valid"),
    (
        {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": 5, "maximum": 2}},
        "can never be",
    ),
    # What no text can be.
    ({"$ref": "#"}, "leads back to itself"),
    (
        {"$defs": {"a": {"anyOf": [{}, {"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"},
        "#/$defs/a lea",
    ),
    (
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        "no text that ends",
    ),
    ({"type": "object", "required": ["a"], "additionalProperties": False}, "no text that ends"),
    ({"$ref": "#"}, "# leads back to itself"),
    ({"properties": {"a/b": {"$ref": "#/properties/a~1b"}}}, "#/properties/a~1b leads back"),
    ({"type": "string", "format": "date", "maxLength": 9}, "no text has its patterns, formats"),
    ({"type": "string", "minLength": 10**12}, "#/minLength may be 1,000,000 at most"),
    ({"type": "array", "items": False, "minItems": 1}, "allows no text that ends"),
]


def built(schema: dict[str, Any]) -> Grammar:
    made = json_grammar(schema, "schema")
    byte_guide().matcher(made)
    return made


@pytest.mark.parametrize(("schema", "said"), REFUSED, ids=lambda value: str(value)[:60])
def test_what_cannot_be_honoured_is_refused_with_its_place(
    schema: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidRequest) as error:
        built(schema)
    assert error.value.code == "invalid_grammar" and error.value.field == "schema"
    assert said in error.value.message
    assert len(error.value.message) < 1000


@pytest.mark.parametrize(
    "schema",
    [
        {
            "title": "T",
            "description": "D",
            "default": 5,
            "examples": [],
            "x-order": 3,
            "nullable": 1,
        },
        {"discriminator": {"propertyName": "k"}, "deprecated": True, "unknown": {"not": {}}},
        {"$schema": "http://json-schema.org/draft-07/schema#", "$id": "https://example.org/a"},
        {"$defs": {"unused": {"not": {}}}},
        {"const": {"not": 1, "x-guidance": 2, "$ref": "https://example.org"}},
        {"uniqueItems": False},
        {"minLength": 2.0, "maxItems": 1e3},
        {"maxLength": 10**12},
        {"$anchor": "a", "properties": {"b": {"$ref": "#a"}}},
    ],
)
def test_annotations_and_values_are_left_alone(schema: dict[str, Any]) -> None:
    built(schema)


LIMITS: dict[str, Callable[[int], dict[str, Any]]] = {
    "values of enum": lambda n: {"enum": list(range(n))},
    "values of enum and const that are lists or objects or in them": lambda n: {"enum": [[]] * n},
    "properties": lambda n: (
        {"properties": {f"p{i}": {} for i in range(n)}} | {"required": [f"p{i}" for i in range(n)]}
    ),
    "alternatives": lambda n: {"anyOf": [FLAG] * n},
    "patterns of properties": lambda n: {"patternProperties": {f"^p{i}$": {} for i in range(n)}},
}


@pytest.mark.parametrize(
    ("what", "most"),
    [
        ("values of enum", 5_000),
        ("values of enum and const that are lists or objects or in them", 500),
        ("properties", 1_000),
        ("alternatives", 1_000),
        ("patterns of properties", 32),
    ],
)
def test_there_may_be_so_much_and_no_more(what: str, most: int) -> None:
    built(LIMITS[what](most))
    with pytest.raises(InvalidRequest, match=f"more than {most:,} {what}"):
        built(LIMITS[what](most + 1))


def test_so_many_properties_of_an_object_may_be_left_out() -> None:
    def optional(count: int) -> dict[str, Any]:
        return {"type": "object", "properties": {f"p{at}": FLAG for at in range(count)}}

    matcher = byte_guide().matcher(built(optional(400)))
    assert all(matcher.accept(byte) for byte in b'{"p7":true,"p399":false}') and matcher.can_end
    with pytest.raises(InvalidRequest, match="more than 400 that are not required"):
        built(optional(401))


@pytest.mark.parametrize(
    ("schema", "least"),
    [
        ({}, 1),
        ({"type": "string", "minLength": 10**6}, 10**6 + 2),
        ({"type": "array", "minItems": 10**9}, 2 * 10**9 + 1),
        ({"type": "array", "prefixItems": [FLAG], "minItems": 3, "items": {"type": "null"}}, 16),
        ({"type": "object", "required": ["a", "é"]}, 2 + 5 + 5 + 1),
        ({"type": "object", "required": ['"']}, 2 + 4 + 2),
        ({"type": ["string", "null"], "minLength": 100}, 4),
        ({"minLength": 100}, 1),
        ({"anyOf": [{"type": "string", "minLength": 5}, {"const": "abc"}]}, 5),
        ({"allOf": [{"type": "string", "minLength": 5}, {"minLength": 9}]}, 11),
        ({"type": "string", "pattern": "^a{3}b+$"}, 6),
        ({"type": "string", "format": "date"}, 12),
        ({"enum": ["abc", [1, 2.5, None], {"a": True}]}, 5),
        ({"$defs": {"a": {"enum": ["abc"]}}, "type": "array", "items": {"$ref": "#/$defs/a"}}, 2),
    ],
)
def test_the_shortest_text_is_known(schema: dict[str, Any], least: int) -> None:
    made = json_grammar(schema, "schema")
    assert made.least == least
    assert made.least_tokens(7) == -(-least // 7)


def test_a_part_that_never_ends_is_left_out_where_it_may_be() -> None:
    endless = {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/a"}}
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}, "b": FLAG}}
    begun = byte_guide().matcher(built({**schema, "$defs": {"a": endless}}))
    assert all(map(begun.copy().accept, b'{"b":true}'))
    assert not all(map(begun.copy().accept, b'{"a":'))


def test_a_schema_as_a_rule_of_a_grammar_is_checked_as_well() -> None:
    with pytest.raises(
        InvalidRequest, match=r"tools.0.function.parameters cannot be honoured: #/no"
    ):
        json_rule({"not": {}}, "tools.0.function.parameters")


def test_equal_formats_have_equal_grammars_and_annotations_change_nothing() -> None:
    plain = json_grammar({"type": "object", "properties": {"a": FLAG}}, "here")
    told = json_grammar({"type": "object", "title": "T", "properties": {"a": FLAG}}, "there")
    other = json_grammar({"type": "object", "properties": {"b": FLAG}}, "here")
    assert plain == told and plain.key == told.key
    assert plain != other and plain.key != other.key


def test_any_text_needs_no_grammar() -> None:
    assert grammar_of(OutputFormat.model_validate({"text": True})) is None


WIDE = {"anyOf": [{"properties": {"a": {"$ref": f"#/$defs/d{at % 300}"}}} for at in range(900)]}
CHAIN = {f"d{at}": {"allOf": [{"$ref": f"#/$defs/d{at + 1}"}]} for at in range(1300)} | {
    "d1300": {}
}
RING = {f"d{at}": {"items": {"$ref": f"#/$defs/d{(at * 7 + 1) % 300}"}} for at in range(300)}


@pytest.mark.parametrize(
    "output",
    [
        {"json_schema": {"$ref": "#/$defs/d0", "$defs": CHAIN}},
        {"json_schema": {**WIDE, "$defs": RING}},
        {"json_schema": {"enum": [f"{at:010}" for at in range(5000)]}},
        {"json_schema": {"allOf": [{"$ref": "#/allOf/0"}] * 2900}},
        {"json_schema": {"description": "\u0000" * 10_900}},
        {"json_schema": {"pattern": "a|" * 30_000}},
        {"grammar": "start: " + " ".join(f'"{at}"' for at in range(9000))},
        {"grammar": "start: a0\n" + "\n".join(f"a{at}: a{at * 7 % 3000}|" for at in range(3000))},
        {"grammar": "#" * 65_000},
        {"choice": [f"{at:010}" for at in range(5000)]},
    ],
    ids=lambda output: str(output)[:50],
)
def test_the_largest_formats_are_read_in_a_moment(output: dict[str, Any]) -> None:
    given = OutputFormat.model_validate(output)
    began = time.process_time()
    with suppress(InvalidRequest):
        grammar_of(given)
    # Some 0.1 s; what repeats itself without end would take minutes.
    assert time.process_time() - began < 5.0
