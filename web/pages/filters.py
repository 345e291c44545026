"""How values read on the pages: times, durations, long texts, settings. Jinja filters; pure."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup, escape
from pydantic import TypeAdapter

from web.pages import charts, forms
from web.schemas.answers import JobView, TimeRange, TryView

CLIP = 2000  # characters of one text in a table of items; the item's own page shows all of it
TITLE = 200  # characters of a job's name that lists and headings show
ENDINGS = {
    "stop": "ended by itself",
    "length": "reached max_tokens",
    "cancelled": "cut off: cancelled",
    "expired": "cut off: past its deadline",
    "error": "cut off by an error",
}


_TIME = TypeAdapter(datetime)


def moment(told: str) -> datetime:
    """A time as workers tell theirs: unix seconds as text."""
    return _TIME.validate_python(told)


def short_time(value: datetime) -> str:
    """The hour today, the day before that; the reader's clock is not known here, so it says UTC."""
    now = datetime.now(UTC)
    if value.date() == now.date():
        return value.strftime("%H:%M:%S UTC")
    return (
        value.strftime("%d %b %H:%M UTC") if value.year == now.year else value.strftime("%d %b %Y")
    )


def seconds(value: float) -> str:
    """A duration as people say it: 0.42 s, 12 s, 3 min 20 s, 2 h 5 min."""
    if value < 9.95:
        return f"{value:.2g} s" if value < 1 else f"{value:.1f} s".replace(".0 s", " s")
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def size(count: int) -> str:
    """Bytes as people say them: 512 B, 3.2 MiB, 10 GiB."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.3g} {unit}" if unit != "B" else f"{count} B"
        count = count / 1024  # type: ignore[assignment]
    return f"{count:,.3g} GiB"


def time_range(expected: TimeRange) -> str:
    low, high = seconds(expected.low), seconds(expected.high)
    return f"about {high}" if low == high else f"{low} to {high}"


def clip(text: str) -> str | Markup:
    """The beginning of a long text, and how much is left out."""
    if len(text) <= CLIP:
        return text
    return escape(text[:CLIP]) + Markup('<span class="cut"> … {:,} more characters</span>').format(
        len(text) - CLIP
    )


def said(row: dict[str, Any]) -> list[dict[str, str]]:
    """What an item asks, as parts with a role each; a plain prompt has none."""
    if row.get("prompt_ids"):
        return [{"role": "", "text": f"{len(row['prompt_ids']):,} token ids: {row['prompt_ids']}"}]
    if row.get("messages"):
        return [
            {"role": message["role"], "text": message["content"]} for message in row["messages"]
        ]
    return [{"role": "", "text": row.get("prompt") or ""}]


def ended(finish_reason: str) -> str:
    return ENDINGS.get(finish_reason, finish_reason)


def setting_value(value: Any) -> str:
    """A setting as it would be typed."""
    if isinstance(value, str):
        return forms.escape(value)
    if isinstance(value, list | tuple) and all(isinstance(part, str) for part in value):
        return ", ".join(f"“{forms.escape(part)}”" for part in value) or "none"
    return json.dumps(value)


def job_title(job: JobView) -> str:
    """What its owner called it, else its id."""
    title = str(job.metadata.get("name") or job.id)
    return title if len(title) <= TITLE else f"{title[:TITLE]}…"


def attempt(tried: TryView) -> str:
    """One try to deliver a webhook (`TryView`): when, what came of it, and when the next is due."""
    parts = [short_time(tried.at)]
    if tried.status_code:
        parts.append(f"HTTP {tried.status_code} in {tried.duration_ms} ms")
    if tried.error:
        parts.append(tried.error)
    if tried.next_at:
        parts.append(f"next at {short_time(tried.next_at)}")
    return " · ".join(parts)


FILTERS = {
    "moment": moment,
    "short_time": short_time,
    "seconds": seconds,
    "size": size,
    "clip": clip,
    "said": said,
    "ended": ended,
    "setting_value": setting_value,
    "job_title": job_title,
    "attempt": attempt,
    "stretches": charts.stretches,
    "progress_label": charts.progress_label,
}
