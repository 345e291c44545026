"""Reads the submit form into the fields of a job, and puts each error next to its input.

Input names are the paths that errors of the API name (`params.top_p`). What was typed is only
turned into values here; `submit_job` checks whether they are allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypedDict

from pydantic import JsonValue

from web.pages.param_fields import param_fields, read_value

CHOICES = {
    "action": ("submit", "try", "check"),
    "split": ("line", "blank"),
    "reads": ("text", "chat"),
}
# The other inputs, beside one `params.…` for each decoding parameter.
INPUTS = {"token", "prompts", "file", "prompt_column", "model", "metadata.name"}


class JobFields(TypedDict, total=False):
    """A job without its items, as the API takes it; what was not typed is left out."""

    model: str
    metadata: dict[str, str]
    params: dict[str, JsonValue]
    prompt_column: str


@dataclass
class FormErrors:
    """Messages by input name; those that belong to no input are under the empty name."""

    by_field: dict[str, list[str]] = field(default_factory=dict)

    def add(self, name: str, message: str) -> None:
        self.by_field.setdefault(name, []).append(message)

    def __bool__(self) -> bool:
        return bool(self.by_field)


def read_job(form: Mapping[str, str], errors: FormErrors) -> JobFields:
    """The fields of the job. What cannot be read is noted in `errors`."""
    job: JobFields = {}
    if model := form.get("model", "").strip():
        job["model"] = model
    if name := form.get("metadata.name", "").strip():
        job["metadata"] = {"name": name}
    params: dict[str, JsonValue] = {}
    known = {field.input: field for field in param_fields()}
    for field_ in known.values():
        typed = form.get(field_.input, "")
        # Around a number, spaces mean nothing; a stop string may be a space.
        if typed.strip("\r\n" if field_.kind == "lines" else None):
            try:
                params[field_.name] = read_value(field_.kind, typed)
            except ValueError as error:
                errors.add(field_.input, str(error))
    # Unknown names pass through here; validation refuses them and suggests the right name.
    unknown = [name for name in form if name.startswith("params.") and name not in known]
    params |= {name.removeprefix("params."): form[name] for name in unknown}
    if params:
        job["params"] = params
    return job


def refuse_unknown(form: Mapping[str, str], errors: FormErrors) -> None:
    """Note an error for each name or choice that the form does not have: it would have no effect,
    and the sender would not learn of it."""
    for name, value in form.items():
        if name in CHOICES and value not in CHOICES[name]:
            errors.add("", f"{name} must be {' or '.join(CHOICES[name])}")
        elif name not in CHOICES and name not in INPUTS and not name.startswith("params."):
            errors.add("", f"this form has no field {name[:64]}")


def place_error(errors: FormErrors, entry: Mapping[str, object], source: str) -> None:
    """Note an error of the API at the input it is about. `source` is where the prompts came from:
    `prompts` or `file`."""
    path, whole, line = str(entry.get("field") or ""), str(entry["message"]), entry.get("line")
    inputs = {field.input for field in param_fields()}
    message = whole.removeprefix(f"{path} ")  # the message stands next to the field
    if line:
        errors.add(source, f"Line {line}: {message}")
    elif path in inputs or path == "model":
        errors.add(path, message)
    elif ".".join(path.split(".")[:2]) in inputs:  # one entry of a list, like params.stop.0
        errors.add(".".join(path.split(".")[:2]), message)
    elif path in ("items", "prompts", "file", "prompt_column", "columns.prompt"):
        errors.add(source, message)
    elif path.startswith("metadata"):
        errors.add("metadata.name", message)
    else:
        errors.add("", whole)
