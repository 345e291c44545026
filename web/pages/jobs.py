"""The list of jobs."""

from __future__ import annotations

from flask import render_template, request

from web.jobs.views import job_list
from web.pages.blueprint import logged_in, pages
from web.services.services import services

JOBS = 25  # jobs on one page of the list


@pages.get("/jobs")
@logged_in
def list_jobs(tenant: str) -> str:
    after = request.args.get("after")
    found = job_list(services(), tenant, after, JOBS)
    return render_template(
        "jobs.html",
        tenant=tenant,
        jobs=found.data,
        after=after,
        next_after=found.after if found.has_more else None,
        busy=any(not job.status.terminal for job in found.data),
        stored=services().admission.stored(tenant),
        most_stored=services().settings.max_stored_bytes,
    )
