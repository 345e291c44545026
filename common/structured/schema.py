"""A JSON Schema as llguidance gets it: checked, bounded, and written anew with nothing in it that
llguidance would get wrong.

Only what can be reached is written: annotations are left out, schemas that `$ref` leads to stand
under `$defs`, patterns and formats are expressions of ours. The new schema allows a part of what
the given one allows, or all of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from common.structured.formats import FORMATS
from common.structured.intersections import TooMuchAtOnce, check_intersections, circle
from common.structured.keywords import HONOURED, fault
from common.structured.least import least_characters
from common.structured.numbers import BOUNDS, BadNumber, bounded, exact, multiple, settled
from common.structured.patterns import BadPattern, read_pattern
from common.structured.refusal import FOREVER, shown, unusable

MOST_VALUES = 5_000  # of all enums
MOST_OBJECTS = 500  # lists and objects among them, with the values inside
MOST_PROPERTIES = 1_000
MOST_OPTIONAL = 400  # of one object: each may be the next
MOST_OPTIONS = 1_000  # of all anyOf and oneOf
MOST_PATTERN_PROPERTIES = 32
MOST_SIGNS = 2_000  # of all patterns
LONGEST = 1_000_000  # characters of a string
MOST_MULTIPLE = 10_000  # all multipleOf together, as whole numbers

LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
NAMED = ("properties", "patternProperties")
SINGLE = ("items", "additionalProperties")


class Translation:
    """A schema on its way to llguidance. `field` is what errors name; places inside the schema are
    JSON pointers (`#/properties/a`)."""

    def __init__(self, root: dict[str, Any], field: str):
        self._root, self._field = root, field
        self._names: dict[str, str] = {}  # of what `$ref` leads to, by pointer
        self._waiting: list[tuple[str, Any]] = []
        self._anchors: dict[str, str] | None = None
        self._counts: dict[str, int] = {}
        self._patterns: dict[str, int] = {}  # characters of the shortest match, by the expression
        self.least = 0  # characters of the shortest text, once it is written

    def schema(self) -> dict[str, Any]:
        """The schema for llguidance.

        Raises:
            InvalidRequest: `invalid_grammar`, with the keyword to blame and its place.
        """
        found = self._written(self._root, "#")
        assert isinstance(found, dict)
        defs: dict[str, Any] = {}
        while self._waiting:
            place, schema = self._waiting.pop()
            defs[self._names[place]] = self._written(schema, place)
        written = {**found, "$defs": defs} if defs else found
        if name := circle(defs):
            places = {name: place for place, name in self._names.items()}
            raise self._refuse(places[name], "leads back to itself")
        try:
            check_intersections(written)
        except TooMuchAtOnce as error:
            raise self._refuse("#", str(error)) from None
        self.least, endless = least_characters(written, self._patterns)
        if self.least >= FOREVER:
            message = "allows no text that ends: something in it needs itself, or can never be"
            raise unusable(message, self._field)
        return _without(written, endless) if endless else written

    def _refuse(self, place: str, message: str) -> Exception:
        return unusable(f"cannot be honoured: {place[:256]} {message}", self._field)

    def _count(self, place: str, what: str, more: int, most: int) -> None:
        self._counts[what] = self._counts.get(what, 0) + more
        if self._counts[what] > most:
            raise self._refuse(place, f"is one of more than {most:,} {what}, the most there may be")

    def _written(self, schema: Any, place: str) -> Any:
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, dict):
            raise self._refuse(place, "must be a schema, an object or true or false")
        found: dict[str, Any] = {}
        for keyword, value in schema.items():
            if message := fault(keyword, value):
                raise self._refuse(f"{place}/{_step(keyword)}", message)
            if keyword == "$id" and place != "#":
                raise self._refuse(f"{place}/$id", "is not supported inside a schema")
            if keyword in HONOURED:
                found |= self._keyword(keyword, value, f"{place}/{_step(keyword)}", schema)
        if own := found.pop("own patterns", None):
            found["allOf"] = [*found.get("allOf", []), *own]
        return settled(found)

    def _keyword(
        self, keyword: str, value: Any, place: str, schema: dict[str, Any]
    ) -> dict[str, Any]:
        """What stands for a keyword and its value."""
        if keyword in LISTS:
            if keyword in ("anyOf", "oneOf"):
                self._count(place, "alternatives", len(value), MOST_OPTIONS)
            return {keyword: [self._written(*each) for each in _listed(value, place)]}
        if keyword in NAMED:
            return {keyword: self._properties(keyword, value, place, schema)}
        if keyword in SINGLE:
            return {keyword: self._written(value, place)}
        if keyword in ("enum", "const"):
            return {keyword: self._values(value if keyword == "enum" else [value], place, keyword)}
        try:
            return self._simple(keyword, value, place, schema)
        except (BadPattern, BadNumber) as error:
            raise self._refuse(place, str(error)) from None

    def _simple(
        self, keyword: str, value: Any, place: str, schema: dict[str, Any]
    ) -> dict[str, Any]:
        if keyword == "$ref":
            return {"$ref": f"#/$defs/{self._target(value, place)}"}
        if keyword == "pattern":
            return {"pattern": self._pattern(value, place)}
        if keyword == "format":
            if value not in FORMATS:
                known = ", ".join(FORMATS)
                raise self._refuse(
                    place, f"is {shown(value)}, which is not known; known are {known}"
                )
            if not (own := FORMATS[value].pattern):
                return {"format": value}
            self._patterns[f"^(?:{own})$"] = FORMATS[value].least
            return {"own patterns": [{"pattern": f"^(?:{own})$"}]}
        if keyword == "multipleOf":
            self._count(place, "units of multipleOf", multiple(value), MOST_MULTIPLE)
            return {keyword: value}
        if keyword in BOUNDS:
            return {keyword: bounded(keyword, value)}
        if keyword == "minProperties" and value > max(1, len(schema.get("required", ()))):
            raise self._refuse(
                place, "may be 1, or as many as are required: a name could come twice"
            )
        if keyword == "minLength" and value > LONGEST:
            raise self._refuse(place, f"may be {LONGEST:,} at most")
        if keyword == "maxLength":
            value = min(value, LONGEST)
        return {keyword: int(value) if isinstance(value, float) else value}

    def _pattern(self, text: str, place: str) -> str:
        found = read_pattern(text, anywhere=True)
        self._count(place, "repetitions in patterns", found.signs, MOST_SIGNS)
        self._patterns[found.source] = found.least
        return found.source

    def _properties(
        self, keyword: str, value: dict[str, Any], place: str, schema: dict[str, Any]
    ) -> dict[str, Any]:
        if keyword == "patternProperties":
            self._count(place, "patterns of properties", len(value), MOST_PATTERN_PROPERTIES)
            found = {}
            for name, inner in value.items():
                try:
                    pattern = self._pattern(name, place)
                except BadPattern as error:
                    raise self._refuse(f"{place}/{_step(name)}", str(error)) from None
                found[pattern] = self._written(inner, f"{place}/{_step(name)}")
            return found
        self._count(place, "properties", len(value), MOST_PROPERTIES)
        if len(value.keys() - set(schema.get("required", ()))) > MOST_OPTIONAL:
            raise self._refuse(place, f"has more than {MOST_OPTIONAL} that are not required")
        return {
            name: self._written(inner, f"{place}/{_step(name)}") for name, inner in value.items()
        }

    def _values(self, values: list[Any], place: str, keyword: str) -> Any:
        self._count(place, "values of enum", len(values), MOST_VALUES)
        for value in values:
            parts = list(_inside(value))
            if isinstance(value, dict | list):
                self._count(
                    place,
                    "values of enum and const that are lists or objects or in them",
                    len(parts),
                    MOST_OBJECTS,
                )
            for part in parts:
                if type(part) in (int, float) and not exact(part):
                    raise self._refuse(place, f"has {part}, a number that would be rounded")
        return values if keyword == "enum" else values[0]

    def _target(self, reference: str, place: str) -> str:
        """The name of what a reference leads to."""
        if not reference.startswith("#"):
            raise self._refuse(place, f"leads to another document, {shown(reference)}")
        pointer = self._pointer(unquote(reference[1:]), place, reference)
        if pointer not in self._names:
            self._names[pointer] = self._new_name(pointer)
            self._waiting.append((pointer, self._found(pointer, place)))
        return self._names[pointer]

    def _new_name(self, pointer: str) -> str:
        """The last step of the pointer, or a number where that is taken or would need escapes."""
        name = pointer.rpartition("/")[2]
        taken = not name.isidentifier() or name in self._names.values()
        return f"-{len(self._names)}" if taken else name

    def _pointer(self, fragment: str, place: str, reference: str) -> str:
        if not fragment or fragment.startswith("/"):
            return f"#{fragment}"
        if self._anchors is None:
            self._anchors = dict(_anchors(self._root))
        if fragment not in self._anchors:
            raise self._refuse(place, f"leads nowhere: there is no {shown(reference)}")
        return self._anchors[fragment]

    def _found(self, pointer: str, place: str) -> Any:
        value: Any = self._root
        for step in pointer.split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            if isinstance(value, dict) and name in value:
                value = value[name]
            elif isinstance(value, list) and name.isdecimal() and int(name[:9]) < len(value):
                value = value[int(name[:9])]
            else:
                raise self._refuse(place, f"leads nowhere: there is no {shown(pointer)}")
        return value


def _without(schema: Any, endless: frozenset[str]) -> Any:
    """A schema in which nothing leads to definitions that never end: llguidance would begin what
    may be left out."""
    if isinstance(schema, list):
        return [_without(each, endless) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if str(schema.get("$ref", "")).removeprefix("#/$defs/") in endless:
        return False
    found = dict(schema)
    for keyword in schema.keys() & {*LISTS, *SINGLE}:
        found[keyword] = _without(schema[keyword], endless)
    for keyword in schema.keys() & {*NAMED, "$defs"}:
        found[keyword] = {
            name: _without(inner, endless)
            for name, inner in schema[keyword].items()
            if keyword != "$defs" or name not in endless
        }
    return found


def _step(name: str) -> str:
    """A step of a JSON pointer."""
    return name.replace("~", "~0").replace("/", "~1")


def _listed(schemas: list[Any], place: str) -> Iterator[tuple[Any, str]]:
    for index, schema in enumerate(schemas):
        yield schema, f"{place}/{index}"


def _inside(value: Any) -> Iterator[Any]:
    """The value and all values in it."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        yield each
        if isinstance(each, dict | list):
            waiting += each.values() if isinstance(each, dict) else each


def _anchors(root: Any) -> Iterator[tuple[str, str]]:
    """The names that `$anchor` gives, with where they are."""
    waiting = [("#", root)]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, dict):
            if isinstance(name := value.get("$anchor"), str):
                yield name, place
            waiting += ((f"{place}/{_step(key)}", inner) for key, inner in value.items())
        elif isinstance(value, list):
            waiting += ((f"{place}/{index}", inner) for index, inner in enumerate(value))
