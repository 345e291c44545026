"""The page with a job's charts: SVG from the server, each with a table of its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from flask import render_template, url_for

from web.jobs.summary import summary
from web.jobs.views import job_view
from web.pages.blueprint import logged_in, pages
from web.pages.filters import finish_reason
from web.schemas.overviews import JobSummary
from web.services.services import services

WIDTH, HEIGHT = 600, 140  # of a chart, in its own units
GAP = 0.15  # of a bar's share of the width


@dataclass(frozen=True)
class Bar:
    x: float
    y: float
    width: float
    height: float
    label: str  # what it stands for, with its number


@dataclass(frozen=True)
class Chart:
    """`top` is the number at the upper edge, `first` and `last` stand under the ends; `rows` are
    those of its table, under `heads`."""

    id: str
    title: str
    bars: Sequence[Bar]
    top: str
    first: str
    last: str
    heads: tuple[str, str]
    rows: Sequence[tuple[str, str]]


@pages.get("/jobs/<job_id>/charts")
@logged_in
def job_charts(tenant: str, job_id: str) -> str:
    job = job_view(services(), job_id, tenant)
    found = summary(services(), job_id, tenant)
    settled = job.status.terminal and found.complete
    return render_template(
        "charts.html",
        tenant=tenant,
        job=job,
        summary=found,
        charts=charts(found) if found.read else [],
        settled=settled,
        events=url_for("api.events", job_id=job_id, after=999_999_999),
    )


def charts(found: JobSummary) -> list[Chart]:
    """What is drawn of a summary. Pure."""
    times = [_clock(each.start, found.seconds) for each in found.timeline]
    lengths = [
        f"{each.low:,}" if each.low == each.high else f"{each.low:,} to {each.high:,}"
        for each in found.lengths
    ]
    reasons = [finish_reason(reason) for reason in found.finish_reasons]
    done = [each.done for each in found.timeline]
    speeds = [each.tokens_per_s for each in found.timeline]
    outputs = [each.outputs for each in found.lengths]
    return [
        chart("done", "Items done", ("Time", "Items"), times, done),
        chart("speed", "Tokens a second", ("Time", "Tokens/s"), times, speeds),
        chart("lengths", "Length of outputs", ("Tokens", "Outputs"), lengths, outputs),
        chart(
            "reasons",
            "Why outputs ended",
            ("Reason", "Outputs"),
            reasons,
            list(found.finish_reasons.values()),
        ),
    ]


def chart(
    name: str, title: str, heads: tuple[str, str], labels: Sequence[str], values: Sequence[float]
) -> Chart:
    """A bar for each value, as high as its share of the highest."""
    most = max([*values, 0.0]) or 1.0
    share = WIDTH / max(1, len(values))
    shown = [f"{value:,.0f}" for value in values]
    bars = [
        Bar(
            round(place * share + share * GAP / 2, 2),
            round(HEIGHT - HEIGHT * value / most, 2),
            round(share * (1 - GAP), 2),
            round(HEIGHT * value / most, 2),
            f"{label}: {text} {heads[1].lower()}",
        )
        for place, (label, value, text) in enumerate(zip(labels, values, shown, strict=True))
    ]
    ends = (labels[0], labels[-1]) if labels else ("", "")
    rows = list(zip(labels, shown, strict=True))
    return Chart(name, title, bars, f"{most:,.0f}", *ends, heads, rows)


def _clock(moment: datetime, seconds: float) -> str:
    """The beginning of a bin, as exact as its length asks for."""
    if seconds < 1:
        return moment.strftime("%H:%M:%S.%f")[:-5]
    return moment.strftime("%d %b %H:%M" if seconds >= 3600 else "%H:%M:%S")
