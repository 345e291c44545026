"""What answers tell browsers: to guess no type, to share nothing of a tenant's, to show no page
within another's."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import cast

import pytest
from werkzeug.datastructures import FileStorage
from werkzeug.test import encode_multipart

from tests.support.web import Answer, Site

NASTY = 'evil"; filename="x.html"; \u202e.exe<script>'


@pytest.fixture
def job_id(site: Site) -> str:
    job_id = site.submit("hello", metadata={"name": NASTY})
    site.worker().run()
    return job_id


@pytest.fixture
def look(site: Site, job_id: str) -> Callable[[str], Answer]:
    """Gets a path, with the job's id for `JOB`, in a browser that is logged in."""

    def get(path: str) -> Answer:
        html = {"Accept": "text/html"}
        return cast(
            Answer, site.browser.get(path.replace("JOB", job_id), headers=html, buffered=True)
        )

    return get


PAGES = [
    "/",
    "/?like=JOB",
    "/jobs",
    "/jobs/JOB",
    "/jobs/JOB/trial",
    "/jobs/JOB/items/0",
    "/workers",
    "/nowhere",
    "/jobs/x",
]
ANSWERS = [
    *(
        "/v1/jobs",
        "/v1/jobs/JOB",
        "/v1/jobs/JOB/items",
        "/v1/jobs/JOB/results.jsonl",
        "/v1/jobs/JOB/results.csv",
    ),
    *("/v1/jobs/JOB/events", "/v1/models", "/v1/workers", "/v1/files", "/v1/batches"),
    *("/metrics", "/openapi.json", "/healthz", "/readyz", "/v1/nothing"),
]


@pytest.mark.parametrize(
    "path", [*PAGES, *ANSWERS, "/login", "/login?token=x", "/static/job.js", "/static/logo.svg"]
)
def test_no_type_is_guessed(look: Callable[[str], Answer], path: str) -> None:
    with look(path) as answer:
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.mimetype != "application/octet-stream"


@pytest.mark.parametrize("path", [*PAGES, "/login?token=x"])
def test_a_page_is_shown_within_no_other_and_tells_others_nothing(
    look: Callable[[str], Answer], path: str
) -> None:
    answer = look(path)
    assert answer.mimetype == "text/html"
    policy = answer.headers["Content-Security-Policy"]
    assert (
        "frame-ancestors 'none'" in policy
        and "default-src 'self'" in policy
        and "form-action 'self'" in policy
    )
    assert answer.headers["Referrer-Policy"] == (
        "strict-origin" if "login" in path else "same-origin"
    )


@pytest.mark.parametrize("path", [*PAGES, *ANSWERS, "/login?token=x"])
def test_nothing_of_a_tenants_is_shown_to_another_from_a_cache(
    look: Callable[[str], Answer], path: str
) -> None:
    answer = look(path)
    is_page = answer.mimetype == "text/html" and "login" not in path
    assert answer.headers["Cache-Control"] == ("private, no-cache" if is_page else "no-store")


def test_what_sets_or_ends_a_session_is_shared_by_no_cache(site: Site) -> None:
    token = site.services.sessions.create_login("acme")
    for answer in (
        site.app.test_client().post("/login", data={"token": token}),
        site.browser.post("/logout"),
    ):
        assert (answer.status_code, answer.headers["Cache-Control"]) == (303, "private, no-cache")


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_results_are_a_file_named_like_the_job_within_quotes_and_without_a_path(
    look: Callable[[str], Answer], kind: str
) -> None:
    said = look(f"/v1/jobs/JOB/results.{kind}").headers["Content-Disposition"]
    assert re.fullmatch(rf'attachment; filename="evil_[^"/\\:*?<>|%$`\r\n]*\.{kind}"', said), said


@pytest.mark.parametrize(
    "name", [NASTY, "x.html", "a\r\nSet-Cookie: promptmill_session=x", "日本.svg"]
)
def test_a_users_file_comes_back_as_bytes_under_no_name_of_its_own(site: Site, name: str) -> None:
    content = b"<script>alert(1)</script>"
    boundary, body = encode_multipart(
        {"purpose": "batch", "file": FileStorage(io.BytesIO(content), name)}
    )
    kind = f"multipart/form-data; boundary={boundary}"
    made = site.post("/v1/files", data=body, content_type=kind)
    if made.status_code != 200:  # refused is as good
        assert 400 <= made.status_code < 500
        return
    answer = site.browser.get(f"/v1/files/{made.json['id']}/content")
    assert (answer.data, answer.mimetype) == (content, "application/octet-stream")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "Set-Cookie" not in answer.headers
    assert not any("evil" in value or "html" in value for value in answer.headers.values())
