"""Field types of requests that name metrics."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field, PlainValidator, WithJsonSchema

from common.given import refuse
from common.types import JsonObject
from evals.bleu_words import TOKENIZERS
from evals.registry import METRICS, UnknownMetric, choose

MOST_METRICS = len(METRICS)

MetricEntry = str | dict[str, Any]


def checked(value: Any) -> MetricEntry:
    """An entry of a list of metrics that there is."""
    if not isinstance(value, str | dict):
        raise refuse('must be the name of a metric, or an object like {"name": "bleu"}')
    try:
        choose([value])
    except UnknownMetric as error:
        raise refuse(f"is wrong: {error}") from None
    return value


def _each_once(metrics: list[MetricEntry]) -> list[MetricEntry]:
    try:
        choose(metrics)
    except UnknownMetric as error:
        raise refuse(f"is wrong: {error}") from None
    return metrics


def _named(schema: JsonObject, **more: JsonObject) -> JsonObject:
    """An object with a `name` of this schema."""
    return {
        "type": "object",
        "properties": {"name": schema, **more},
        "required": ["name"],
        "additionalProperties": False,
    }


NAMES: JsonObject = {"enum": list(METRICS)}
_METRIC_SCHEMA: JsonObject = {
    "anyOf": [
        NAMES,
        _named({"const": "bleu"}, tokenize={"enum": list(TOKENIZERS)}),
        _named(NAMES),
    ]
}
Metrics = Annotated[
    list[Annotated[Any, PlainValidator(checked), WithJsonSchema(_METRIC_SCHEMA)]],
    Field(max_length=MOST_METRICS, fail_fast=True, json_schema_extra={"uniqueItems": True}),
    AfterValidator(_each_once),
]


def names_of(metrics: list[MetricEntry]) -> list[str]:
    """The names of metrics that were checked."""
    return [each if isinstance(each, str) else str(each["name"]) for each in metrics]
