"""The submit form: fields made from `SamplingParams` itself, and what a browser sent, made into a
job's parts.

Knows nothing of Redis or of pages. Input names are the paths that errors of the API name
(`params.top_p`), so that every error finds its field. What was typed is only turned into numbers
here; `submit_job` says whether they are good.
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen
from pydantic.fields import FieldInfo

from common.types import SamplingParams
from web.intake.strict_json import parse

# Shown at once; the others are one click away.
COMMON = ("max_tokens", "temperature", "top_p", "n", "seed")
MOST_TYPED = 2**16  # characters of one setting: more than any may have
ESCAPES = {r"\n": "\n", r"\t": "\t", r"\\": "\\"}

CHOICES = {
    "action": ("submit", "try", "check"),
    "split": ("line", "blank"),
    "reads": ("text", "chat"),
}
# And a setting's `params.…`.
INPUTS = {"token", "prompts", "file", "prompt_column", "model", "metadata.name"}

Kind = Literal["int", "float", "bool", "lines", "json"]


@dataclass(frozen=True)
class Setting:
    """One decoding setting as the form shows it. `bounds` is for people, like `0 to 1`."""

    name: str
    kind: Kind
    help: str
    default: str
    bounds: str

    @property
    def input(self) -> str:
        return f"params.{self.name}"

    @property
    def common(self) -> bool:
        return self.name in COMMON


@dataclass(frozen=True)
class Pasted:
    """A prompt out of the text box, and the line it begins on (from 1)."""

    text: str
    line: int


@dataclass
class Errors:
    """Messages by input name; those that belong to no field are under the empty name."""

    by_field: dict[str, list[str]] = field(default_factory=dict)

    def add(self, name: str, message: str) -> None:
        self.by_field.setdefault(name, []).append(message)

    def __bool__(self) -> bool:
        return bool(self.by_field)


def settings() -> list[Setting]:
    """Every field of `SamplingParams`, the common ones first."""
    found = [_setting(name, info) for name, info in SamplingParams.model_fields.items()]
    order = {name: place for place, name in enumerate(COMMON)}
    return sorted(found, key=lambda setting: order.get(setting.name, len(order)))


def _setting(name: str, info: FieldInfo) -> Setting:
    default = info.get_default(call_default_factory=True)
    shown = f"{default:g}" if isinstance(default, int | float) else ""
    return Setting(name, _kind(info.annotation), info.description or "", shown, _bounds(info))


def _kind(annotation: Any) -> Kind:
    """How a type is typed in. Types that have no input of their own are typed as JSON."""
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(part for part in get_args(annotation) if part is not type(None))
    plain: dict[Any, Kind] = {bool: "bool", int: "int", float: "float"}
    if annotation in plain:
        return plain[annotation]
    if get_origin(annotation) is tuple and _is_text(get_args(annotation)[0]):
        return "lines"
    return "json"


def _is_text(annotation: Any) -> bool:
    return annotation is str or get_args(annotation)[:1] == (str,)  # str, or Annotated[str, …]


def _bounds(info: FieldInfo) -> str:
    low = high = ""
    for bound in info.metadata:
        if isinstance(bound, Ge):
            low = _number(bound.ge)
        elif isinstance(bound, Gt):
            low = f"above {_number(bound.gt)},"
        elif isinstance(bound, Le):
            high = _number(bound.le)
        elif isinstance(bound, Lt):
            high = f"below {_number(bound.lt)}"
        elif isinstance(bound, MaxLen):
            return f"at most {bound.max_length}"
    if low and high:
        return f"{low} to {high}"
    return f"from {low}" if low else high


def _number(value: Any) -> str:
    return (
        f"{value:,}".replace("-", "−")
        if abs(value) < 10**9
        else "2⁶³ − 1"
        if value == 2**63 - 1
        else f"{value:.0e}"
    )


def read_job(form: Mapping[str, str], errors: Errors) -> dict[str, Any]:
    """The job without its items: model, params and metadata as the API takes them. Empty fields are
    left out."""
    job: dict[str, Any] = {}
    if model := form.get("model", "").strip():
        job["model"] = model
    if name := form.get("metadata.name", "").strip():
        job["metadata"] = {"name": name}
    params = {}
    for setting in settings():
        typed = form.get(setting.input, "")
        # A space is a stop string like any other; around a number it is nothing.
        if typed.strip("\r\n" if setting.kind == "lines" else None):
            try:
                params[setting.name] = _read_value(setting.kind, typed)
            except ValueError as error:
                errors.add(setting.input, str(error))
    # Settings that are none: whoever checks the job has the right name for them.
    known = {setting.input for setting in settings()}
    strange = [name for name in form if name.startswith("params.") and name not in known]
    params |= {name.removeprefix("params."): form[name] for name in strange}
    if params:
        job["params"] = params
    return job


def refuse_unknown(form: Mapping[str, str], errors: Errors) -> None:
    """What no input of the form sends would be dropped in silence."""
    for name, value in form.items():
        if name in CHOICES and value not in CHOICES[name]:
            errors.add("", f"{name} must be {' or '.join(CHOICES[name])}")
        elif name not in CHOICES and name not in INPUTS and not name.startswith("params."):
            errors.add("", f"{name[:64]} is no field of this form")


def _read_value(kind: Kind, typed: str) -> Any:
    """What was typed as JSON would have it; `ValueError` says what was expected instead."""
    if len(typed) > MOST_TYPED:
        raise ValueError(f"has more than {MOST_TYPED:,} characters")
    if kind == "bool":
        return True  # an unticked box is not sent
    if kind == "lines":
        return [_unescape(line) for line in typed.splitlines() if line]
    if kind == "int":
        if not re.fullmatch(r"\s*[+-]?[0-9]{1,30}\s*", typed):
            raise ValueError(f"“{_cut(typed)}” is not a whole number")
        return int(typed)
    if kind == "float":
        if not re.fullmatch(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?\s*", typed):
            raise ValueError(f"“{_cut(typed)}” is not a number; write it like 0.7")
        return float(typed)
    return parse(typed)


def _unescape(line: str) -> str:
    r"""`\n`, `\t` and `\\` as in most languages: a line break cannot be typed into a list of
    lines."""
    return re.sub(r"\\[nt\\]", lambda match: ESCAPES[match[0]], line)


def escape(text: str) -> str:
    """What `_unescape` undoes."""
    return text.replace("\\", r"\\").replace("\n", r"\n").replace("\t", r"\t")


def _cut(text: str) -> str:
    text = text.strip()
    return text if len(text) <= 40 else text[:40] + "…"


def read_prompts(text: str, split: str) -> Iterator[Pasted]:
    """The prompts in the text box: one a line, or (`split="blank"`) paragraphs with empty lines
    between them."""
    paragraph: list[str] = []
    before = 0  # the line before
    for number, line in _written_lines(text):
        if paragraph and (split != "blank" or number > before + 1):
            yield Pasted("\n".join(paragraph).strip(), before - len(paragraph) + 1)
            paragraph = []
        paragraph.append(line)
        before = number
    if paragraph:
        yield Pasted("\n".join(paragraph).strip(), before - len(paragraph) + 1)


def _written_lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers from 1; a text of millions of blank ones
    costs no list."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    number, counted = 1, 0
    written = re.compile(r"\S")
    while found := written.search(text, counted):
        number += text.count("\n", counted, found.start())
        begin = text.rfind("\n", 0, found.start()) + 1
        end = text.find("\n", begin)
        counted = len(text) if end < 0 else end
        yield number, text[begin:counted]


def place(errors: Errors, entry: Mapping[str, Any], source: str) -> None:
    """Put one of the API's errors next to the field it is about. `source` is `prompts` or
    `file`."""
    path, whole, line = str(entry.get("field") or ""), str(entry["message"]), entry.get("line")
    inputs = {setting.input for setting in settings()}
    message = whole.removeprefix(f"{path} ")  # the field is next to it already
    if line:
        errors.add(source, f"Line {line}: {message}")
    elif path in inputs or path == "model":
        errors.add(path, message)
    elif ".".join(path.split(".")[:2]) in inputs:  # one entry of a list, like params.stop.0
        errors.add(".".join(path.split(".")[:2]), message)
    elif path in ("items", "prompts", "file", "prompt_column"):
        errors.add(source, message)
    elif path.startswith("metadata"):
        errors.add("metadata.name", message)
    else:
        errors.add("", whole)


MOST_REFILLED = 200  # prompts that are typed in again for "run again"; more is a file's business


def refill(
    model: str, params: Mapping[str, Any], metadata: Mapping[str, Any], rows: list[dict[str, Any]]
) -> dict[str, str]:
    """What somebody would have typed for a job like this one; without prompts if they cannot be
    typed."""
    typed = {"model": model, "metadata.name": str(metadata.get("name") or "")}
    for setting in settings():
        if params.get(setting.name) is not None:
            typed[setting.input] = _typed(setting.kind, params[setting.name])
    chats = [_question(row) for row in rows]
    prompts = chats if all(chats) else [row.get("prompt") for row in rows]
    if len(prompts) <= MOST_REFILLED and all(prompts):
        texts = [str(prompt) for prompt in prompts]
        typed["reads"] = "chat" if all(chats) else "text"
        split, glue = ("blank", "\n\n") if any("\n" in text for text in texts) else ("line", "\n")
        joined = glue.join(texts)
        if [prompt.text for prompt in read_prompts(joined, split)] == texts:
            typed |= {"prompts": joined, "split": split}
    return typed


def as_chat(item: Any) -> Any:
    """An item with its prompt as what a user says in a chat; what has none, or is no item at all,
    stays as it is."""
    if not isinstance(item, dict) or not item.get("prompt") or "messages" in item:
        return item
    rest = {name: value for name, value in item.items() if name != "prompt"}
    return {**rest, "messages": [{"role": "user", "content": item["prompt"]}]}


def _question(row: Mapping[str, Any]) -> str | None:
    """What `as_chat` made the row's messages of, if it did."""
    match row.get("messages"):
        case [{"role": "user", "content": str(content)}]:
            return content
    return None


def _typed(kind: Kind, value: Any) -> str:
    if kind == "bool":
        return "on" if value else ""
    if kind == "lines":
        return "\n".join(escape(line) for line in value)
    return json.dumps(value)
