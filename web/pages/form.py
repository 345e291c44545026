"""Reads the submit form into the fields of a job, and puts each error next to its input.

Input names are the paths that errors of the API name (`params.top_p`). What was typed is only
turned into values here; `submit_job` checks whether they are allowed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import JsonValue

from web.pages import metric_fields, output_fields, preparation
from web.pages.metric_fields import read_metrics
from web.pages.output_fields import input_of, read_output
from web.pages.param_fields import param_fields, read_value
from web.pages.preparation import TEMPLATE_INPUTS, PreparationFields, read_preparation
from web.schemas.metrics import MetricEntry

# What the buttons do; `insert:` and a column's name is another.
BACK = "back"  # to the form before its first step; form.js presses it
ACTIONS = ("submit", "try", "check", "preview", "columns", "next", "preset", "remove", BACK)
INSERT = "insert:"
READS_DEFAULT = "reads.default"  # how the page would read prompts until somebody chooses
KEPT = "prompts.kept"  # what was in the text box before a file took its place
CHOICES = {
    "split": ("line", "blank"),
    "reads": ("text", "chat"),
    **preparation.CHOICES,
    **output_fields.CHOICES,
    **metric_fields.CHOICES,
}
# The other inputs, beside one `params.…` for each decoding parameter.
INPUTS = {
    *(
        "token",
        "draft",
        "seen",
        "step",
        READS_DEFAULT,
        "prompts",
        KEPT,
        "file",
        "input_file",
        "like",
        "model",
        "preset",
    ),
    *("preset.used", "sweep.name", "sweep.values"),
    *("metadata.name", "action"),
    *preparation.INPUTS,
    *output_fields.INPUTS,
}
# What is not kept in a draft: it belongs to one request.
NO_ROWS: Mapping[str, str] = {}
PASSING = frozenset({"token", "draft", "seen", "action", "file"})


class JobFields(PreparationFields, total=False):
    """A job without its items, as the API takes it; what was not typed is left out."""

    model: str
    preset: str
    metadata: dict[str, str]
    params: dict[str, JsonValue]
    metrics: list[MetricEntry]


@dataclass
class FormErrors:
    """Messages by input name; those that belong to no input are under the empty name."""

    by_field: dict[str, list[str]] = field(default_factory=dict)

    def add(self, name: str, message: str) -> None:
        self.by_field.setdefault(name, []).append(message)

    def __bool__(self) -> bool:
        return bool(self.by_field)


def read_job(form: Mapping[str, str], errors: FormErrors, columns: Sequence[str] = ()) -> JobFields:
    """The fields of the job, made of a table with these columns, if any. What cannot be read is
    noted in `errors`."""
    wrong: dict[str, str] = {}
    job = JobFields(**read_preparation(form, columns, wrong))  # type: ignore[typeddict-item]
    if model := form.get("model", "").strip():
        job["model"] = model
    if name := form.get("metadata.name", "").strip():
        job["metadata"] = {"name": name}
    if metrics := read_metrics(form):
        job["metrics"] = metrics
    params = read_output(form, wrong)
    for name, message in wrong.items():
        errors.add(name, message)
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
    known_names = {*known, *output_fields.INPUTS}
    unknown = [name for name in form if name.startswith("params.") and name not in known_names]
    params |= {name.removeprefix("params."): form[name] for name in unknown}
    if params:
        job["params"] = params
    return job


def refuse_unknown(form: Mapping[str, str], errors: FormErrors) -> None:
    """Note an error for each name or choice that the form does not have: it would have no effect,
    and the sender would not learn of it."""
    action = form.get("action", "submit")
    if action not in ACTIONS and not action.startswith(INSERT):
        errors.add("", f"action must be {' or '.join(ACTIONS)}")
    for name, value in form.items():
        if name in CHOICES and value not in CHOICES[name]:
            allowed = " or ".join(choice or "nothing" for choice in CHOICES[name])
            errors.add("", f"{name} must be {allowed}")
        elif name not in CHOICES and name not in INPUTS and not name.startswith("params."):
            errors.add("", f"this form has no field {name[:64]}")


def place_error(
    errors: FormErrors,
    entry: Mapping[str, object],
    source: str,
    rows: Mapping[str, str] = NO_ROWS,
    kind: str = "",
) -> None:
    """Note an error of the API at the input it is about. `source` is the input where the items came
    from: `prompts`, `file` or `like`; `rows` are the inputs that chose what a row's fields are made
    of, by field; `kind` is the kind of output.

    A message loses the name of its field only next to that very field.
    """
    path, message, line = str(entry.get("field") or ""), str(entry["message"]), entry.get("line")
    if entry.get("code") == "no_chat_template":  # of every line
        errors.by_field["reads"] = [f"{message}: continue the text, or take another model"]
        return
    if line:
        errors.add(rows.get(path.split(".")[0], source), f"Line {line}: {message}")
        return
    if source == "like" and (item := re.match(r"items\.(\d+)", path)):
        errors.add(source, f"Item {item[1]}: {message}")
        return
    place = input_of(path, kind) or _place(path, source)
    errors.add(place, message.removeprefix(f"{path} ") if place == path else message)


def _place(path: str, source: str) -> str:
    """The input for errors of this path."""
    inputs = {"model", "reads", "preset", *preparation.INPUTS, *metric_fields.CHOICES}
    inputs |= {field.input for field in param_fields()}
    beginning = ".".join(path.split(".")[:2])  # of one entry of a list, like params.stop.0
    if path in inputs or beginning in inputs:
        return path if path in inputs else beginning
    if path in ("items", "prompts", "file", "input_file", "prompt_column"):
        return "columns.prompt" if path == "prompt_column" else source
    for group, place in (
        ("sweep", "sweep.values"),
        ("template", TEMPLATE_INPUTS[1]),
        ("columns", "columns.custom_id"),
        ("format", "file"),
        ("truncate", "truncate.to"),
        ("metadata", "metadata.name"),
    ):
        if path.split(".")[0] == group:
            return place
    return ""
