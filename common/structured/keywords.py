"""The keywords of JSON Schema (draft 2020-12): which are honoured, which are refused and why, and
what their values may be. All others are annotations, which say nothing about a text.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")

REFUSED = {
    "not": "describe what is allowed instead",
    "if": "use anyOf with a const or an enum that tells its members apart",
    "contains": "use prefixItems, or items for all",
    "dependentRequired": "use anyOf of objects",
    "dependentSchemas": "use anyOf of objects",
    "dependencies": "use anyOf of objects",
    "propertyNames": "use patternProperties with additionalProperties: false",
    "unevaluatedProperties": "use additionalProperties",
    "unevaluatedItems": "use items after prefixItems",
    "additionalItems": "use prefixItems, and items for the rest",
    "$dynamicRef": "use $ref",
    "$recursiveRef": "use $ref",
    "$vocabulary": "leave it out",
    "x-guidance": "leave it out",
}


def _is_schema(value: Any) -> str | None:
    return (
        None if isinstance(value, dict | bool) else "must be a schema, an object or true or false"
    )


def _is_count(value: Any) -> str | None:
    whole = type(value) is int or (type(value) is float and value.is_integer())
    return None if whole and 0 <= value < 2**53 else "must be a whole number from 0 on"


def _is_number(value: Any) -> str | None:
    return None if type(value) in (int, float) else "must be a number"


def _is_text(value: Any) -> str | None:
    return None if isinstance(value, str) else "must be text"


def _are_schemas(value: Any) -> str | None:
    good = isinstance(value, list) and value and not any(map(_is_schema, value))
    return None if good else "must be a list of schemas, and not empty"


def _are_named_schemas(value: Any) -> str | None:
    good = isinstance(value, dict) and not any(map(_is_schema, value.values()))
    return None if good else "must be an object of schemas"


def _are_names(value: Any) -> str | None:
    good = (
        isinstance(value, list)
        and all(isinstance(name, str) for name in value)
        and len(set(value)) == len(value)
    )
    return None if good else "must be a list of names, none twice"


def _are_types(value: Any) -> str | None:
    names = [value] if isinstance(value, str) else value
    good = isinstance(names, list) and names and all(name in TYPES for name in names)
    return None if good else f"must be one of {', '.join(TYPES)}, or a list of them"


def _are_values(value: Any) -> str | None:
    return None if isinstance(value, list) and value else "must be a list of values, and not empty"


def _is_anything(_value: Any) -> str | None:
    return None


HONOURED: dict[str, Callable[[Any], str | None]] = {
    "type": _are_types,
    "enum": _are_values,
    "const": _is_anything,
    "anyOf": _are_schemas,
    "oneOf": _are_schemas,
    "allOf": _are_schemas,
    "$ref": _is_text,
    "properties": _are_named_schemas,
    "additionalProperties": _is_schema,
    "patternProperties": _are_named_schemas,
    "required": _are_names,
    "minProperties": _is_count,
    "maxProperties": _is_count,
    "items": _is_schema,
    "prefixItems": _are_schemas,
    "minItems": _is_count,
    "maxItems": _is_count,
    "minLength": _is_count,
    "maxLength": _is_count,
    "pattern": _is_text,
    "format": _is_text,
    "minimum": _is_number,
    "maximum": _is_number,
    "exclusiveMinimum": _is_number,
    "exclusiveMaximum": _is_number,
    "multipleOf": _is_number,
}
# Annotations whose names are near to those of keywords.
ANNOTATIONS = frozenset(
    {
        *("$schema", "$id", "$anchor", "$dynamicAnchor", "$defs", "$comment", "definitions", "id"),
        *("title", "description", "default", "example", "examples", "deprecated", "nullable"),
        *("readOnly", "writeOnly", "discriminator", "contentEncoding", "contentMediaType"),
        *("contentSchema", "then", "else", "minContains", "maxContains"),
    }
)


def fault(keyword: str, value: Any) -> str | None:
    """What is wrong with a keyword of a schema; None for those that may be there."""
    if keyword == "uniqueItems":
        return None if value is False else "is not supported; ask for it in the prompt"
    if keyword in REFUSED:
        return f"is not supported; {REFUSED[keyword]}"
    if check := HONOURED.get(keyword):
        return check(value)
    if keyword in ANNOTATIONS or keyword.startswith("x-"):
        return None
    near = difflib.get_close_matches(keyword[:64], HONOURED, n=1, cutoff=0.85)
    return f"is not known; did you mean {near[0]}?" if near else None
