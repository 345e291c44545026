"""The shape of an output format: one kind, within bounds, kept as it was given."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from common.params import SamplingParams
from common.structured.output_format import MOST_BYTES, MOST_DEPTH, MOST_LABELS, OutputFormat

ONE_OF_EACH: list[dict[str, Any]] = [
    {"json_schema": {"type": "object", "properties": {"b": {}, "a": {"const": None}}}},
    {"json": True},
    {"regex": "[a-z]+"},
    {"choice": ["yes", "no", " no"]},
    {"choice": ["yes", "no"], "probabilities": True},
    {"grammar": 'start: "a"'},
    {"text": True},
]


def nested(depth: int) -> dict[str, Any]:
    """A schema of so many objects inside each other."""
    schema: dict[str, Any] = {}
    for _ in range(depth - 1):
        schema = {"items": schema}
    return schema


def refused(value: Any) -> tuple[tuple[Any, ...], str]:
    """Place and message of the only error."""
    with pytest.raises(ValidationError) as error:
        OutputFormat.model_validate(value)
    (details,) = error.value.errors()
    return details["loc"], details["msg"]


@pytest.mark.parametrize("given", ONE_OF_EACH, ids=lambda given: "-".join(given))
def test_a_format_is_kept_as_it_was_given(given: dict[str, Any]) -> None:
    for mode in ("python", "json"):
        kept = SamplingParams.model_validate({"output": given}).model_dump(
            mode=mode, exclude_unset=True
        )
        assert kept == {"output": given}
        assert SamplingParams.model_validate(kept).model_dump(exclude_unset=True) == kept


def test_properties_stay_in_their_order() -> None:
    names = ["z", "a", "m", "b"]
    properties: dict[str, Any] = {name: {} for name in names}
    given = {"json_schema": {"properties": properties}}
    kept = OutputFormat.model_validate(given).model_dump(mode="json")
    assert list(kept["json_schema"]["properties"]) == names


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"json": None},
        {"json": True, "text": True},
        {"regex": "a", "choice": ["a"]},
        {"schema": {}},
    ],
)
def test_exactly_one_kind_is_given(given: dict[str, Any]) -> None:
    place, message = refused(given)
    assert place == () and message.startswith("must have one of json_schema, json, regex")


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"json": False}, ("json",)),
        ({"text": 1}, ("text",)),
        ({"json_schema": []}, ("json_schema",)),
        ({"regex": ""}, ("regex",)),
        ({"regex": 5}, ("regex",)),
        ({"grammar": "\ud800"}, ("grammar",)),
        ({"choice": "yes"}, ("choice",)),
        ({"choice": []}, ("choice",)),
        ({"choice": ["a", ""]}, ("choice", 1)),
        ({"choice": ["a", "b", "a"]}, ("choice",)),
        ({"json": True, "probabilities": True}, ()),
        ({"json": True, "jsn": True}, ("jsn",)),
    ],
)
def test_a_wrong_value_is_refused_at_its_place(
    given: dict[str, Any], place: tuple[Any, ...]
) -> None:
    assert refused(given)[0] == place


def test_a_schema_is_so_deep_and_no_deeper() -> None:
    OutputFormat.model_validate({"json_schema": nested(MOST_DEPTH)})
    for depth in (MOST_DEPTH + 1, 100_000):
        assert "64 deep" in refused({"json_schema": nested(depth)})[1]


@pytest.mark.parametrize("letter", ["a", "é"])
@pytest.mark.parametrize("kind", ["json_schema", "regex", "grammar", "choice"])
def test_a_format_has_so_many_bytes_and_no_more(kind: str, letter: str) -> None:
    def sized(letters: int) -> dict[str, Any]:
        text = letter * letters
        values = {"json_schema": {"title": text}, "choice": [text]}
        return {kind: values.get(kind, text)}

    around = {"json_schema": len('{"title":""}'), "choice": len('[""]')}.get(kind, 0)
    room = (MOST_BYTES - around) // len(letter.encode())
    OutputFormat.model_validate(sized(room))
    for more in (1, 10 * MOST_BYTES):
        assert "65,536 bytes" in refused(sized(room + more))[1]


def test_there_are_so_many_labels_and_no_more() -> None:
    labels = [str(number) for number in range(MOST_LABELS + 1)]
    OutputFormat.model_validate({"choice": labels[:-1]})
    assert refused({"choice": labels})[0] == ("choice",)


def test_thinking_is_a_whole_number_of_tokens() -> None:
    for given in (0, 3.0):
        params = SamplingParams.model_validate({"thinking": {"max_tokens": given}})
        assert params.model_dump(exclude_unset=True) == {"thinking": {"max_tokens": int(given)}}
    for wrong in (-1, 1.5, 10**400, "3", None):
        with pytest.raises(ValidationError):
            SamplingParams.model_validate({"thinking": {"max_tokens": wrong}})
