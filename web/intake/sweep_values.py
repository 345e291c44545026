"""The values that a sweep tries: checked one by one, and combined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from pydantic import ValidationError

from common.errors import ErrorDict
from common.params import SamplingParams
from common.types import JsonObject
from web.intake.faults import Fault, refusal
from web.intake.fit import check_model
from web.intake.validation_messages import explain
from web.schemas.requests import Item
from web.schemas.sweeps import AnySweep
from web.services.models import Model


def combined(varied: Mapping[str, Sequence[Any]]) -> list[JsonObject]:
    """Each value of one parameter with each value of the others, in order: those of the last
    parameter change first."""
    return [dict(zip(varied, values, strict=True)) for values in product(*varied.values())]


def checked_values(options: AnySweep, model: Model) -> dict[str, list[Any]]:
    """The values of each parameter as they are stored: `"."` for `stop` as `["."]`.

    Raises:
        InvalidRequest: a value cannot be one, or is there twice.
    """
    faults: list[ErrorDict] = []
    varied: dict[str, list[Any]] = {}
    for name, values in options.sweep.items():
        where = f"sweep.{name}"
        if name in options.params.model_fields_set:
            message = f"params.{name} is given, and varied by the sweep; leave one out"
            faults.append({"code": "invalid_value", "message": message, "field": where})
        varied[name] = []
        for place, value in enumerate(values):
            fault = _fault(name, value, varied[name], model)
            if fault:
                code, message = fault
                field = f"{where}.{place}"
                faults.append({"code": code, "message": f"{field} {message}", "field": field})
    if faults:
        raise refusal(faults[:100])
    return varied


def _fault(name: str, value: Any, before: list[Any], model: Model) -> tuple[str, str] | None:
    """Add a value to those before it, as it is stored; or answer the code and message of why it
    cannot be."""
    if value is None:
        return "invalid_value", "is null; leave it out, or write the value"
    try:
        params = SamplingParams.model_validate({name: value})
        check_model(Item.model_validate({}), params, model.card)
    except ValidationError as error:
        first = explain(error, SamplingParams)[0]
        return first["code"], first["message"].partition(" ")[2]
    except Fault as error:
        return error.code, f"cannot be: {error}"
    stored = params.model_dump(mode="json", include={name})[name]
    if stored in before:
        return "invalid_value", "is there twice"
    before.append(stored)
    return None
