"""A hundred JSON Schemas of the kinds that people send, all of which can be honoured.

Numbers have bounds: without them a random walk writes exponents that no reader takes.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string", "maxLength": 8}
WHOLE: Schema = {"type": "integer", "minimum": -1000, "maximum": 1000}
FLAG: Schema = {"type": "boolean"}


def record(optional: tuple[str, ...] = (), /, **properties: Schema) -> Schema:
    """An object of these properties and no others; all but the `optional` ones are required."""
    required = [name for name in properties if name not in optional]
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def several(items: Schema, **bounds: Any) -> Schema:
    return {"type": "array", "items": items, "maxItems": 4, **bounds}


STRINGS: list[Schema] = [
    {"type": "string", "maxLength": 12},
    {"type": "string", "minLength": 3, "maxLength": 3},
    {"type": "string", "minLength": 20, "maxLength": 24},
    {"type": "string", "maxLength": 0},
    {"type": "string", "pattern": "^[A-Z]{2}-\\d{4}$"},
    {"type": "string", "pattern": "^(red|green|blue)$"},
    {"type": "string", "pattern": "^\\w+@\\w+\\.(com|org)$", "maxLength": 20},
    {"type": "string", "pattern": "b", "minLength": 2, "maxLength": 5},
    {"type": "string", "pattern": "^a|z$", "maxLength": 4},
    {"type": "string", "pattern": "^\\s\\S\\d\\D\\w\\W.$"},
    {"type": "string", "pattern": "^[^\\s\\d]{2}[\\w-][[&]$"},
    {"type": "string", "pattern": "^\\p{Lu}\\p{Ll}{1,5}$"},
    {"type": "string", "pattern": "^\\u00e9\\x41\\/\\$\\.$"},
    {"type": "string", "pattern": "^(?:ab?){2,3}c*$", "maxLength": 8},
    {"type": "string", "pattern": "^[ぁ-ん]{1,4}$"},
]
FORMATS: list[Schema] = [
    {"type": "string", "format": name}
    for name in (
        *("date", "time", "date-time", "duration", "email", "hostname"),
        *("ipv4", "ipv6", "uuid", "uri"),
    )
]
NUMBERS: list[Schema] = [
    {"type": "integer", "minimum": 0, "maximum": 9},
    {"type": "integer", "minimum": -7, "maximum": -3},
    {"type": "integer", "exclusiveMinimum": 99, "exclusiveMaximum": 1001},
    {"type": "integer", "exclusiveMinimum": 1.5, "exclusiveMaximum": 2.5},
    {"type": "integer", "minimum": 2**53, "maximum": 2**63 - 1},
    {"type": "integer", "multipleOf": 7, "minimum": -50, "maximum": 50},
    {"type": "integer", "multipleOf": 250},
    {"type": "number", "minimum": 0, "maximum": 1},
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.5},
    {"type": "number", "minimum": -273.15, "maximum": 1e6},
    {"type": "number", "minimum": -1e-7, "maximum": 1e-7},
    {"type": "number", "multipleOf": 0.01, "minimum": 0, "maximum": 100},
    {"type": "number", "multipleOf": 2.5},
    {"type": "number", "minimum": 5, "multipleOf": 3.3},
    {"type": ["integer", "null"], "minimum": 1, "maximum": 5},
]
CONSTANTS: list[Schema] = [
    {"enum": ["yes", "no", "maybe"]},
    {"enum": ["a\nb", "\u0000", "é", '"', "\\", "/", "\u2028", "😀", "\u007f", ""]},
    {"enum": [1, 2.5, -0.001, 1e-7, 1e30, None, True, False, "1"]},
    {"enum": [{"a": 1, "b": []}, [1, [2, {"c": None}]], {}]},
    {"enum": [f"label {number}" for number in range(300)]},
    {"enum": ["a", "ab", "abc", "b", " a"]},
    {"const": {"kind": "ключ", "values": [1, 2, 3]}},
    {"const": -9007199254740992},
    {"type": "string", "enum": ["x", 1, None]},
    {"enum": [1, 2, 3, 40], "minimum": 2, "maximum": 40},
]
ARRAYS: list[Schema] = [
    several(WHOLE),
    several(FLAG, minItems=2),
    several(several(TEXT)),
    several(record(id=WHOLE), minItems=1),
    {"type": "array", "prefixItems": [WHOLE, TEXT], "items": False},
    {"type": "array", "prefixItems": [TEXT], "items": FLAG, "minItems": 3, "maxItems": 3},
    {"type": "array", "items": {"enum": ["red", "green"]}, "minItems": 4, "maxItems": 4},
    {"type": "array", "maxItems": 0},
    {"type": "array", "prefixItems": [FLAG, FLAG], "minItems": 1, "maxItems": 2},
    several({"type": "string", "format": "date"}, uniqueItems=False),
]
OBJECTS: list[Schema] = [
    record(name=TEXT, age=WHOLE, admin=FLAG),
    record(("nick",), name=TEXT, nick=TEXT),
    record(("a", "b", "c", "d"), a=WHOLE, b=TEXT, c=FLAG, d={"type": "null"}),
    record(z=WHOLE, a=WHOLE, m=record(y=FLAG, b=FLAG)),
    record(deep=record(deep=record(deep=record(deep=several(WHOLE))))),
    record((), **{"naïve key": WHOLE, 'quo"te': FLAG, "new\nline": FLAG, "a/b~c": FLAG, "": FLAG}),
    record((), **{f"field_{number}": WHOLE for number in range(30)}),
    record(tuple(f"f{n}" for n in range(20)), **{f"f{n}": FLAG for n in range(20)}),
    {"type": "object", "additionalProperties": WHOLE, "maxProperties": 3},
    {
        "type": "object",
        "properties": {"id": WHOLE},
        "required": ["id"],
        "additionalProperties": TEXT,
        "maxProperties": 3,
    },
    {
        "type": "object",
        "properties": {"\u0001": WHOLE, "é": WHOLE},
        "additionalProperties": TEXT,
        "required": ["é"],
    },
    {"type": "object", "required": ["later", "first"], "additionalProperties": WHOLE},
    {
        "type": "object",
        "properties": {"a": WHOLE},
        "minProperties": 1,
        "additionalProperties": False,
    },
    {
        "type": "object",
        "patternProperties": {"^n_": WHOLE, "^s_": TEXT},
        "additionalProperties": False,
        "maxProperties": 4,
    },
    {
        "type": "object",
        "properties": {"n_x": TEXT},
        "patternProperties": {"^n_": {"type": ["integer", "string"], "maxLength": 3}},
        "additionalProperties": False,
        "maxProperties": 3,
        "required": ["n_x"],
    },
    {
        "type": "object",
        "properties": {"never": False, "always": FLAG},
        "additionalProperties": False,
    },
    {"type": "object", "maxProperties": 0},
    record(free={"type": "object", "maxProperties": 2, "additionalProperties": FLAG}),
    record(title={**TEXT, "title": "Title", "description": "…", "default": "x", "examples": ["y"]}),
    record(
        when={"type": "string", "format": "date-time"}, mail={"type": "string", "format": "email"}
    ),
]
TREE: Schema = {
    "$defs": {
        "tree": record(("left", "right"), value=WHOLE, left={"$ref": "#/$defs/tree"}, right=FLAG)
    },
    "$ref": "#/$defs/tree",
}
COMBINED: list[Schema] = [
    {"anyOf": [WHOLE, TEXT, {"type": "null"}]},
    {"anyOf": [record(a=WHOLE), record(b=TEXT)]},
    {"anyOf": [record(kind={"const": "a"}, x=WHOLE), record(kind={"const": "ab"}, x=TEXT)]},
    {"oneOf": [WHOLE, TEXT, FLAG]},
    {"oneOf": [record(kind={"const": "cat"}, lives=WHOLE), record(kind={"const": "dog"})]},
    {"oneOf": [record(v={"enum": [1, 2]}), record(w=FLAG), several(FLAG)]},
    {
        "discriminator": {"propertyName": "type"},
        "anyOf": [{"$ref": "#/$defs/Circle"}, {"$ref": "#/$defs/Square"}],
        "$defs": {
            "Circle": record(type={"const": "circle"}, radius=WHOLE),
            "Square": record(type={"const": "square"}, side=WHOLE),
        },
    },
    {"allOf": [{"type": "integer", "minimum": 3}, {"maximum": 12}, {"multipleOf": 3}]},
    {
        "allOf": [
            {"type": "object", "properties": {"a": WHOLE}, "required": ["a"]},
            {"properties": {"a": {"minimum": 5}, "b": FLAG}, "required": ["b"]},
        ],
        "maxProperties": 2,
    },
    {"allOf": [{"type": "string", "pattern": "^a"}, {"pattern": "z$"}], "maxLength": 6},
    {"type": "object", "properties": {"a": WHOLE}, "allOf": [{"additionalProperties": TEXT}]},
    {"$ref": "#/definitions/Short", "maxLength": 2, "definitions": {"Short": {"type": "string"}}},
    record(who={"$ref": "#/$defs/p"}, also={"$ref": "#/$defs/p"})
    | {"$defs": {"p": record(name=TEXT)}},
    {"$defs": {"n": {"$anchor": "near", "type": "boolean"}}, "items": {"$ref": "#near"}}
    | {"type": "array", "maxItems": 3},
    TREE,
    record(list={"anyOf": [{"type": "null"}, several({"anyOf": [WHOLE, FLAG]})]}),
    {"type": ["string", "integer", "boolean"], "maxLength": 4, "minimum": 0, "maximum": 99},
    record(a={"type": ["array", "null"], "items": FLAG, "maxItems": 2}),
    record(
        ("unit",), amount={"type": "number", "minimum": 0, "maximum": 1e6}, unit={"const": "kg"}
    ),
    record(
        people=several(
            record(
                ("tags",),
                name=TEXT,
                role={"enum": ["user", "admin"]},
                tags=several({"enum": ["a", "b"]}),
            )
        )
    ),
]

SCHEMAS: list[Schema] = [
    *STRINGS,
    *FORMATS,
    *NUMBERS,
    *CONSTANTS,
    *ARRAYS,
    *OBJECTS,
    *COMBINED,
]
