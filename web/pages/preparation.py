"""The form's fields that prepare prompts: template, columns, format, cleaning and truncation; read
into the fields of a job, and typed back.

Names of columns are typed with a colon before them, since a column may have no name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, get_args

from pydantic import JsonValue

from common.params import CELLS
from web.intake.strict_json import parse
from web.schemas.preparation import CleanStep

STEPS: tuple[str, ...] = get_args(CleanStep)
MAPPED = ("custom_id", "reference", "prompt")  # what a column may be chosen for
DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|"}
ENCODINGS = ("utf-8", "utf-16", "utf-16-le", "utf-16-be")
CHOICES: dict[str, tuple[str, ...]] = {
    "format.delimiter": ("", *DELIMITERS),
    "format.encoding": ("", *ENCODINGS),
    "truncate.keep": ("start", "end", "both"),
    "bad_rows": ("refuse", "fail"),
    "columns.params": ("on",),
    **{f"clean.{step}": ("on",) for step in STEPS},
}
INPUTS = {
    "template.system",
    "template.text",
    "template.messages",
    "format.sheet",
    "truncate.to",
    "truncate.variable",
    *(f"columns.{name}" for name in MAPPED),
}
# The parts of `template` that errors of the API name, each with its input.
TEMPLATE_INPUTS = ("template.messages", "template.text", "template.system")


class PreparationFields(TypedDict, total=False):
    """The part of a job that prepares prompts, as the API takes it."""

    template: dict[str, JsonValue]
    columns: dict[str, JsonValue]
    format: dict[str, str]
    clean: list[str]
    truncate: dict[str, JsonValue]
    bad_rows: str


def read_preparation(
    form: Mapping[str, str], names: Sequence[str], wrong: dict[str, str]
) -> PreparationFields:
    """The fields; what was not typed is left out. `names` are the columns of the table there is.
    What cannot be read is noted in `wrong`, by input."""
    found: PreparationFields = {}
    if template := _template(form, wrong):
        found["template"] = template
    if columns := _columns(form, names, bool(template)):
        found["columns"] = columns
    if chosen := typed_format(form):
        found["format"] = chosen
    if steps := [step for step in STEPS if form.get(f"clean.{step}")]:
        found["clean"] = steps
    if truncate := _truncate(form):
        found["truncate"] = truncate
    if form.get("bad_rows") == "fail":
        found["bad_rows"] = "fail"
    return found


def _template(form: Mapping[str, str], wrong: dict[str, str]) -> dict[str, JsonValue]:
    if (typed := form.get("template.messages", "")).strip():
        try:
            return {"messages": parse(typed)}
        except ValueError as error:
            wrong["template.messages"] = str(error)
            return {}
    text = _lines(form.get("template.text", ""))
    if not text.strip():
        # The prompts of a column are asked by a template as well as by anything else.
        column = form.get("columns.prompt", "")
        if not column or form.get("reads") != "chat" or not can_be_named(column[1:]):
            return {}
        text = f"{{{{{column[1:]}}}}}"
    if form.get("reads") != "chat":
        return {"prompt": text}
    return {"messages": messages_of(form, text)}


def messages_of(form: Mapping[str, str], text: JsonValue) -> list[JsonValue]:
    """A chat with this text of the user, after the system message if one was typed."""
    found: list[JsonValue] = [{"role": "user", "content": text}]
    if (system := _lines(form.get("template.system", ""))).strip():
        found.insert(0, {"role": "system", "content": system})
    return found


def _columns(
    form: Mapping[str, str], names: Sequence[str], templated: bool
) -> dict[str, JsonValue]:
    mapped: dict[str, JsonValue] = {}
    for name in MAPPED:
        column = form.get(f"columns.{name}", "")
        # Where there is a template, it makes the prompts.
        if column and not (templated and name == "prompt"):
            mapped[name] = column[1:]
    if form.get("columns.params"):
        mapped["params"] = {name: name for name in names if name in CELLS}
    return mapped


def chosen_columns(form: Mapping[str, str]) -> dict[str, str]:
    """The inputs that say of which column a row's fields are made, by field; those that do."""
    names = ("custom_id", "reference", "params")
    return {name: f"columns.{name}" for name in names if form.get(f"columns.{name}")}


def typed_format(form: Mapping[str, str]) -> dict[str, str]:
    """What was chosen of the file's format."""
    found = {}
    if delimiter := DELIMITERS.get(form.get("format.delimiter", "")):
        found["delimiter"] = delimiter
    for name in ("encoding", "sheet"):
        if chosen := form.get(f"format.{name}"):
            found[name] = chosen
    return found


def _truncate(form: Mapping[str, str]) -> dict[str, JsonValue]:
    to = form.get("truncate.to", "").strip()
    if not to:
        return {}
    found: dict[str, JsonValue] = {"to": int(to) if to.isdecimal() and len(to) < 12 else to}
    found["keep"] = form.get("truncate.keep") or "start"
    if variable := form.get("truncate.variable", ""):
        found["variable"] = variable.removeprefix(":")
    return found


def _lines(text: str) -> str:
    """Browsers send the end of a line as two characters."""
    return text.replace("\r\n", "\n")


def typed_preparation(
    template: Mapping[str, Any] | None, clean: Sequence[str], truncate: Mapping[str, Any] | None
) -> dict[str, str]:
    """What somebody would type for these: the inverse of `read_preparation`."""
    typed = {f"clean.{step}": "on" for step in clean}
    typed |= typed_template(template) if template else {}
    if truncate:
        typed["truncate.to"] = str(truncate["to"])
        typed["truncate.keep"] = str(truncate.get("keep") or "start")
        if truncate.get("variable") is not None:
            typed["truncate.variable"] = f":{truncate['variable']}"
    return typed


def typed_template(template: Mapping[str, Any]) -> dict[str, str]:
    """A template as it is typed; messages that are no question with a system message are typed as
    JSON."""
    messages = template.get("messages")
    if not messages:
        return {"reads": "text", "template.text": str(template.get("prompt") or "")}
    match messages:
        case [{"role": "user", "content": str(text)}]:
            return {"reads": "chat", "template.text": text}
        case [{"role": "system", "content": str(system)}, {"role": "user", "content": str(text)}]:
            return {"reads": "chat", "template.system": system, "template.text": text}
    return {"reads": "chat", "template.messages": as_json(messages)}


def as_json(value: Any) -> str:
    """JSON as people read it."""
    return json.dumps(value, ensure_ascii=False, indent=2)


def can_be_named(name: str) -> bool:
    """Whether a template can name the column."""
    return (
        name == name.strip()
        and "}}" not in name
        and not name.endswith("}")
        and not name.startswith("{{")
    )


def suggested(names: Sequence[str]) -> dict[str, str]:
    """What the columns of a new table are taken for until somebody chooses: by the names that they
    have in this API, or `id`. None is taken for a parameter: many tables have an `n` of their own.
    """
    typed = {}
    for name, likely in (
        ("custom_id", ("custom_id", "id")),
        ("reference", ("reference",)),
        ("prompt", ("prompt",)),
    ):
        if column := next((each for each in likely if each in names), None):
            typed[f"columns.{name}"] = f":{column}"
    return typed
