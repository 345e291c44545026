"""What the page of the submit form shows: the form as it was typed, and what the step found out."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from evals.bleu_words import TOKENIZERS
from evals.registry import DEFAULT
from web.pages.as_code import INLINE, AsCode, as_code
from web.pages.ask_or_continue import default_reading
from web.pages.filters import cell, time_range
from web.pages.form import READS_DEFAULT, JobFields
from web.pages.metric_fields import MetricGroup, metric_groups
from web.pages.param_fields import ParamField, param_fields
from web.pages.preparation import messages_of
from web.pages.presets import preset_heads
from web.pages.preview import Preview, preview
from web.pages.sources import Source
from web.pages.submission import Submission
from web.pages.table_view import TableView
from web.pages.workers import known_models
from web.schemas.answers import CheckView, ErrorEntry, ModelView
from web.schemas.presets import PresetHead
from web.services.services import Services
from web.wire.links import base_url

STEPS = ("columns", "preview", "check")
LARGE = (
    128 * 2**10
)  # bytes of a file, and items of a job: more are checked only when that is asked for
MANY = 5000
CLIP = 200  # characters of a bad line's text


@dataclass(frozen=True)
class BadLine:
    """A line that cannot be run, its text, and what is wrong with it."""

    line: int
    text: str
    messages: list[str]


@dataclass(frozen=True)
class SubmitPage:
    """What the template needs. `step` is the last one that was done, "" before the first; `next` is
    what Enter does."""

    tenant: str
    typed: Mapping[str, str]
    errors: Mapping[str, list[str]]
    step: str
    next: str
    source: Source
    large: bool  # too large to be checked at every key
    table: TableView | None
    preview: Preview | None
    check: CheckView | None
    bad_lines: list[BadLine]
    ahead: str  # what waits before it, in words
    summary: str
    code: AsCode | None
    fields: list[ParamField]
    more_open: bool
    models: list[ModelView]
    presets: list[PresetHead]
    metric_groups: list[MetricGroup]
    usual_metrics: Sequence[str]  # where references are, and nothing is ticked
    tokenizers: Sequence[str]  # of BLEU
    token: str


def make_page(
    services: Services, tenant: str, submission: Submission, step: str = ""
) -> SubmitPage:
    typed, fields, models = dict(submission.typed), param_fields(), known_models()
    if "reads" not in typed:
        typed["reads"] = typed[READS_DEFAULT] = default_reading(models, typed.get("model", ""))
    if step in ("preview", "check"):
        submission.refuse_empty()
    shown = preview(services, tenant, submission) if step in ("preview", "check") else None
    view = submission.check() if step == "check" else None
    lines = list(bad_lines(submission, view.errors or submission.lines_that_fail())) if view else []
    if view and not view.valid and lines:
        _point_to(lines, submission)
    # A check that found something is to be done again.
    done = "preview" if step == "check" and not (view and view.valid) else step
    return SubmitPage(
        tenant=tenant,
        typed=typed,
        errors=submission.errors.by_field,
        step=done,
        next=next_step({**typed, "step": done}, False),
        source=submission.source,
        large=is_large(submission.source, submission.table),
        table=submission.table,
        preview=shown,
        check=view,
        bad_lines=lines,
        ahead=ahead(services, tenant) if view else "",
        summary=summary(view) if view else "",
        code=code_of(submission, base_url(services)) if step else None,
        fields=fields,
        more_open=any(typed.get(field.input) for field in fields if not field.common),
        models=models,
        presets=preset_heads(services, tenant),
        metric_groups=metric_groups(),
        usual_metrics=DEFAULT,
        tokenizers=list(TOKENIZERS),
        token=secrets.token_hex(16),
    )


def is_large(source: Source, table: TableView | None) -> bool:
    """Whether reading it takes a while. Some formats are read by a process of its own."""
    if source.job:
        return source.job.counts.total > MANY
    decoded = bool(table and table.kind in ("xlsx", "parquet"))
    return bool(source.file and (decoded or source.file.bytes > LARGE))


def code_of(submission: Submission, base: str) -> AsCode | None:
    """The job as a program sends it. None where none can: where the page is wrong, asks the prompts
    of a JSONL file as chats, or takes the items of another job."""
    source, options = submission.source, submission.options
    wrong = [name for name in submission.errors.by_field if name.startswith("params.")]
    if options is None or wrong or not source.input or source.job:
        return None
    if source.file:
        changed = submission.typed.get("reads") == "chat" and options.template is None
        return None if changed else as_code(submission.fields, base, file=source.file.filename)
    items = [draft.value for draft in submission.drafts(4)]
    if len(items) < 4 and sum(len(str(item)) for item in items) <= INLINE:
        return as_code(submission.fields, base, items=items)
    if submission.typed.get("split") == "blank":  # a text file has a prompt a line
        return None
    fields: JobFields = {**submission.fields}
    if submission.typed.get("reads") == "chat" and options.template is None:
        fields["template"] = {"messages": messages_of(submission.typed, "{{text}}")}
    return as_code(fields, base, file="prompts.txt")


def next_step(typed: Mapping[str, str], has_new_file: bool) -> str:
    """The step that Enter does. Pasted prompts have no columns, and their text can be seen."""
    if has_new_file:
        return "columns"
    steps = [*STEPS, "submit"] if typed.get("input_file") else ["check", "submit"]
    done = typed.get("step", "")
    return steps[min(steps.index(done) + 1, len(steps) - 1)] if done in steps else steps[0]


def bad_lines(submission: Submission, errors: Sequence[ErrorEntry]) -> Iterator[BadLine]:
    """The lines that these errors are about. The items are read once more for their texts, as
    far as the last of them."""
    messages: dict[int, list[str]] = {}
    for error in errors:
        if error.line is not None:
            messages.setdefault(error.line, []).append(error.message)
    if not messages:
        return
    last = max(messages)
    for draft in submission.drafts():
        if draft.line in messages:
            text = draft_text(draft.value)
            yield BadLine(draft.line, text, messages.pop(draft.line))
        if not messages or (draft.line or 0) >= last:
            return


def _point_to(lines: list[BadLine], submission: Submission) -> None:
    """Say where the lines are listed, in place of the errors of each. A choice of columns that some
    of them are about says the first."""
    errors, name = submission.errors.by_field, submission.source.input
    count = f"{len(lines)} line{'s' if len(lines) != 1 else ''}"
    for place, messages in list(errors.items()):
        of_lines = [message for message in messages if message.startswith("Line ")]
        others = [message for message in messages if not message.startswith("Line ")]
        if of_lines and place == name:
            errors[place] = [*others, f"{count} cannot run; the check lists each below."]
        elif len(of_lines) > 1:
            rest = f"… and {len(of_lines) - 1} more; the check lists each below."
            errors[place] = [*others, of_lines[0], rest]


def draft_text(value: object) -> str:
    """The beginning of an item as it was sent."""
    if isinstance(value, dict):
        given = value.get("prompt") or value.get("vars") or value.get("messages") or value
        if isinstance(given, dict):
            given = _named(given.items())
        elif isinstance(given, list):
            given = _named(map(_said, given))
        value = given
    text = cell(value or "")
    return text if len(text) <= CLIP else f"{text[:CLIP]}…"


def _named(pairs: Iterable[tuple[object, object]]) -> str:
    return " · ".join(islice((f"{cell(name)}: {cell(said)}" for name, said in pairs if said), 20))


def _said(message: object) -> tuple[object, object]:
    """Who says what in a message, which may be anything: nobody has checked it yet."""
    if not isinstance(message, dict):
        return "?", message
    return message.get("role") or "?", message.get("content") or message.get("tool_calls")


def ahead(services: Services, tenant: str) -> str:
    """What waits before a new job: the tenant's own items. Of other tenants nothing is told; they
    take turns with this one."""
    items, tokens = services.admission.queued(tenant)
    if not items:
        return "nothing of yours"
    return f"{items:,} item{'s' if items != 1 else ''} of yours, up to {tokens:,} tokens"


def summary(view: CheckView) -> str:
    """The size of the job in words; nothing where there is no prompt."""
    if not view.items:
        return ""
    parts = [f"{view.items:,} prompt{'s' if view.items != 1 else ''}"]
    if view.prompt_tokens is not None:
        parts.append(f"{view.prompt_tokens:,} prompt tokens")
    if view.valid:
        parts.append(f"at most {view.max_completion_tokens:,} to generate")
    if view.valid and view.seconds:
        parts.append(time_range(view.seconds))
    return " · ".join(parts)
