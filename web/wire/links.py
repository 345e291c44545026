"""Addresses of this server, of jobs and of what belongs to them, as the client that asks reaches
them."""

from __future__ import annotations

from flask import has_request_context, request

from web.services.services import Services


def base_url(services: Services) -> str:
    """How the client reaches this server, without a slash at the end."""
    if services.settings.public_url is None and has_request_context():
        return request.host_url.rstrip("/")
    return services.settings.base_url


def job_links(services: Services, job_id: str) -> dict[str, str]:
    """Where everything about a job is."""
    base = base_url(services)
    job = f"{base}/v1/jobs/{job_id}"
    return {
        "self": job,
        "items": f"{job}/items",
        "results": f"{job}/results.jsonl",
        "results_csv": f"{job}/results.csv",
        "events": f"{job}/events",
        "evaluations": f"{job}/evaluations",
        "cancel": f"{job}/cancel",
        "page": f"{base}/jobs/{job_id}",
    }


def evaluation_links(services: Services, job_id: str, evaluation_id: str) -> dict[str, str]:
    """Where an evaluation is, and the rows with its scores."""
    base = base_url(services)
    query = f"evaluation={evaluation_id}"
    return {
        "self": f"{base}/v1/evaluations/{evaluation_id}",
        "job": f"{base}/v1/jobs/{job_id}",
        "items": f"{base}/v1/jobs/{job_id}/items?{query}",
        "results": f"{base}/v1/jobs/{job_id}/results.jsonl?{query}",
    }


def sweep_links(services: Services, sweep_id: str) -> dict[str, str]:
    """Where a sweep is. Its jobs have links of their own."""
    base = base_url(services)
    sweep = f"{base}/v1/sweeps/{sweep_id}"
    return {"self": sweep, "cancel": f"{sweep}/cancel", "page": f"{base}/sweeps/{sweep_id}"}


def study_links(services: Services, study_id: str) -> dict[str, str]:
    """Where a study is."""
    base = base_url(services)
    study = f"{base}/v1/studies/{study_id}"
    return {
        "self": study,
        "raters": f"{study}/raters",
        "export": f"{study}/export.jsonl",
        "export_csv": f"{study}/export.csv",
        "page": f"{base}/studies/{study_id}",
    }
