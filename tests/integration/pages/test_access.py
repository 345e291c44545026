"""Pages show nothing to strangers, run no code of others and call no other host."""

from __future__ import annotations

import re

from tests.support.web import Site

WISHES = ("pause", "resume", "cancel", "retry")


def pages_of(job_id: str) -> list[str]:
    """Every page there is for somebody with a job."""
    job = f"/jobs/{job_id}"
    return [
        "/",
        f"/?like={job_id}",
        "/jobs",
        job,
        f"{job}/trial",
        f"{job}/items/0",
        f"{job}/shares",
        "/studies/new",
        "/studies",
        "/workers",
        "/people",
        "/login",
    ]


INLINE = re.compile(
    r"<script(?! type=\"module\" src=\"/static/)|<style|\sstyle=|\son\w+=|javascript:",
    re.IGNORECASE,
)
NASTY = "<script>alert(1)</script>\"' onload=x"


def test_pages_show_nothing_to_strangers(site: Site) -> None:
    job_id = site.submit("my secret")
    stranger = site.app.test_client()
    for path in pages_of(job_id)[:-1]:
        answer = stranger.get(path)
        assert answer.status_code == 401
        assert "promptmill login" in answer.text
        assert "secret" not in answer.text


def test_another_tenants_job_is_not_there(site: Site) -> None:
    job_id = site.submit("my secret")
    other = site.log_in("globex")
    for path in pages_of(job_id):
        if job_id in path:
            answer = other.get(path)
            assert answer.status_code == 404
            assert "secret" not in answer.text
    for wish in WISHES:
        assert other.post(f"/jobs/{job_id}/{wish}").status_code == 404
    assert job_id not in other.get("/jobs").text


def test_no_page_runs_inline_code_and_all_is_escaped(site: Site) -> None:
    site.submit(NASTY, metadata={"name": NASTY, "note": NASTY}, params={"stop": [NASTY]})
    worker = site.worker()
    worker.run(text=NASTY)
    job_id = site.submit(NASTY, metadata={"name": NASTY, NASTY: NASTY})
    worker.finish(worker.take(), error=NASTY)
    for path in [*pages_of(job_id), "/nowhere/at/all", "/jobs/<script>"]:
        answer = site.browser.get(path)
        if answer.mimetype == "text/html":
            assert answer.headers["Content-Security-Policy"].startswith("default-src 'self'")
            assert "<script>alert" not in answer.text
            unescaped = re.sub(r"&#34;|&#39;|&lt;|&gt;", "", answer.text)
            assert not INLINE.search(unescaped.replace(" onload=x", ""))
            assert '" onload' not in answer.text


def test_pages_hold_no_address_of_another_host(site: Site) -> None:
    job_id = site.submit("hello")
    for path in pages_of(job_id):
        text = site.browser.get(path).text
        for address in re.findall(r"(?:src|href|action)=\"([^\"]*)\"", text):
            assert not address or address.startswith(("/", "#")), address


def test_another_sites_page_cannot_press_our_buttons(site: Site) -> None:
    job_id = site.submit("hello")
    elsewhere = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
    for path in ("/", *(f"/jobs/{job_id}/{wish}" for wish in WISHES), "/logout", "/login"):
        assert site.browser.post(path, headers=elsewhere).status_code == 403
    job = site.services.store.job(job_id)
    assert (job.cancel_requested, job.paused) == (False, False)
