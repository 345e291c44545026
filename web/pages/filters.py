"""Jinja filters: how the pages show times, durations, sizes, long texts and parameters. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from markupsafe import Markup, escape
from pydantic import BaseModel, TypeAdapter

from common.params import lacked
from common.result_row import ItemPrompt
from web.pages import calls, charts, evaluation_charts, job_state, output_words, score_words, tokens
from web.pages.param_fields import escape as escape_line
from web.schemas.answers import JobView, TimeRange, TryView

CLIP = 2000  # characters of one text in the table of items; the page of the item shows all
TITLE = 200  # characters of a job's name in lists and headings
FINISH_REASONS = {
    "stop": "ended by itself",
    "length": "reached max_tokens",
    "cancelled": "cut off: cancelled",
    "expired": "cut off: past its deadline",
    "error": "cut off by an error",
}


_TIME = TypeAdapter(datetime)


def unix_time(seconds: str | float) -> datetime:
    """A time in the fleet's records: unix seconds as text."""
    return _TIME.validate_python(seconds)


def short_time(value: datetime) -> str:
    """A time of today with its hour, an earlier one with its day. In UTC, because the server does
    not know the time zone of the browser."""
    now = datetime.now(UTC)
    if value.date() == now.date():
        return value.strftime("%H:%M:%S UTC")
    return (
        value.strftime("%d %b %H:%M UTC") if value.year == now.year else value.strftime("%d %b %Y")
    )


def seconds(value: float) -> str:
    """A duration for people: 0.42 s, 12 s, 3 min 20 s, 2 h 5 min."""
    if value < 9.95:
        return f"{value:.2g} s" if value < 1 else f"{value:.1f} s".replace(".0 s", " s")
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def size(count: int) -> str:
    """A number of bytes for people: 512 B, 3.2 MiB, 10 GiB."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.3g} {unit}" if unit != "B" else f"{count} B"
        count = count / 1024  # type: ignore[assignment]
    return f"{count:,.3g} GiB"


def time_range(expected: TimeRange) -> str:
    low, high = seconds(expected.low), seconds(expected.high)
    return f"about {high}" if low == high else f"{low} to {high}"


def clip(text: str, most: int = CLIP) -> str | Markup:
    """The beginning of a long text, and how many characters are left out."""
    if len(text) <= most:
        return text
    return escape(text[:most]) + Markup('<span class="cut"> … {:,} more characters</span>').format(
        len(text) - most
    )


def cell(value: Any) -> str:
    """The value of a column as text: JSON where it is no text."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


class PromptPart(NamedTuple):
    """A part of an item's input; a plain prompt has no role."""

    role: str
    text: str


def prompt_parts(row: ItemPrompt) -> list[PromptPart]:
    """The input of an item for people: each message of a chat is a part."""
    if ids := row.get("prompt_ids"):
        return [PromptPart("", f"{len(ids):,} token ids: {ids}")]
    if messages := row.get("messages"):
        return [part for message in messages for part in _message_parts(message)]
    return [PromptPart("", row.get("prompt") or "")]


def _message_parts(message: Mapping[str, Any]) -> Iterator[PromptPart]:
    """What a message says, and each function that it calls."""
    role, answers = str(message["role"]), message.get("tool_call_id")
    if message.get("content") is not None:
        yield PromptPart(f"{role}, for {answers}" if answers else role, str(message["content"]))
    for call in message.get("tool_calls") or ():
        called = call["function"]
        arguments = output_words.readable_json(str(called.get("arguments") or ""))
        named = f" as {call['id']}" if call.get("id") else ""
        yield PromptPart(f"{role} calls {called['name']}{named}", arguments)


def finish_reason(reason: str) -> str:
    """A finish reason in words."""
    return FINISH_REASONS.get(reason, reason)


def typed(value: Any) -> str:
    """A parameter's value as it would be typed into the form."""
    if isinstance(value, str):
        return escape_line(value)
    if isinstance(value, list | tuple) and all(isinstance(part, str) for part in value):
        return ", ".join(f"“{escape_line(part)}”" for part in value) or "none"
    return json.dumps(value)


def param(value: Any, name: str) -> str:
    """The value of a parameter for people."""
    if name == "output" and isinstance(value, Mapping):
        return output_words.format_words(value)
    if name == "thinking" and isinstance(value, Mapping):
        return f"at most {value['max_tokens']:,} tokens"
    return typed(value)


def job_title(job: JobView) -> str:
    """The name that the tenant gave the job, else its id."""
    title = str(job.metadata.get("name") or job.id)
    return title if len(title) <= TITLE else f"{title[:TITLE]}…"


def truncation(wanted: Mapping[str, Any] | BaseModel) -> str:
    """How prompts are cut, as the command line has it: 512:start:text."""
    given = wanted.model_dump(exclude_none=True) if isinstance(wanted, BaseModel) else wanted
    return ":".join(str(given[name]) for name in ("to", "keep", "variable") if given.get(name))


def attempt(tried: TryView) -> str:
    """One attempt to deliver a webhook: when, its result, and when the next one is due."""
    parts = [short_time(tried.at)]
    if tried.status_code:
        parts.append(f"HTTP {tried.status_code} in {tried.duration_ms} ms")
    if tried.error:
        parts.append(tried.error)
    if tried.next_at:
        parts.append(f"next at {short_time(tried.next_at)}")
    return " · ".join(parts)


def has_any(typed: Mapping[str, str], beginning: str) -> bool:
    """Whether something was typed into inputs whose names begin so."""
    return any(text for name, text in typed.items() if name.startswith(beginning))


FILTERS = {
    "has_any": has_any,
    **tokens.FILTERS,
    **output_words.FILTERS,
    **calls.FILTERS,
    **score_words.FILTERS,
    **evaluation_charts.FILTERS,
    "unix_time": unix_time,
    "short_time": short_time,
    "seconds": seconds,
    "time_range": time_range,
    "size": size,
    "clip": clip,
    "cell": cell,
    "prompt_parts": prompt_parts,
    "finish_reason": finish_reason,
    "typed": typed,
    "param": param,
    "lacked": lacked,
    "job_title": job_title,
    "truncation": truncation,
    "attempt": attempt,
    "segments": charts.segments,
    "progress_label": job_state.progress_label,
    "job_state": job_state.job_state,
    "done": job_state.done,
    "done_label": job_state.done_label,
    "counted": job_state.counted,
    "percent": job_state.percent,
    "marks": job_state.marks,
    "ran_for": job_state.ran_for,
    "icon": job_state.icon,
}
