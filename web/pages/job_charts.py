"""The page with a job's charts: SVG from the server, each with a table of its numbers."""

from __future__ import annotations

from datetime import datetime

from flask import render_template, url_for

from web.jobs.summary import summary
from web.jobs.views import job_view
from web.pages.blueprint import logged_in, pages
from web.pages.charts import Chart, chart
from web.pages.filters import finish_reason
from web.schemas.overviews import JobSummary
from web.services.services import services


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


def _clock(moment: datetime, seconds: float) -> str:
    """The beginning of a bin, as exact as its length asks for."""
    if seconds < 1:
        return moment.strftime("%H:%M:%S.%f")[:-5]
    return moment.strftime("%d %b %H:%M" if seconds >= 3600 else "%H:%M:%S")
