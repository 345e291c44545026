"""The form's fields that make a sweep of the job: one decoding parameter, and its values."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from common.params import SamplingParams
from web.pages.form import FormErrors
from web.pages.param_fields import param_fields, read_value

NAME, VALUES = "sweep.name", "sweep.values"


def read_sweep(form: Mapping[str, str], errors: FormErrors) -> dict[str, list[JsonValue]]:
    """Each value of the parameter, one a line; empty if none was chosen. What cannot be read is
    noted in `errors`."""
    name, typed = form.get(NAME, ""), form.get(VALUES, "")
    field = next((field for field in param_fields() if field.name == name), None)
    if not name:
        if typed.strip():
            errors.add(VALUES, "Choose the parameter that has these values.")
        return {}
    if field is None:
        errors.add(NAME, _not_offered(name))
        return {}
    values: list[JsonValue] = []
    for line in filter(str.strip, typed.splitlines()):
        try:
            if field.kind == "bool":
                values.append(line.strip().lower() in ("true", "on", "yes"))
            else:
                values.append(read_value(field.kind, line))
        except ValueError as error:
            errors.add(VALUES, str(error))
    if not values and not errors.by_field.get(VALUES):
        errors.add(VALUES, "Type its values, one a line.")
    return {name: values}


def _not_offered(name: str) -> str:
    if name not in SamplingParams.model_fields:
        return f"There is no parameter {name[:64]}."
    return f"{name} is varied through the API only, with POST /v1/sweeps; choose another here."
