"""Laws of the pages: private, escaped, strict about scripts, and as useful without them."""

from __future__ import annotations

import html
import io
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from common.store import keys
from tests.support.cards import card
from tests.support.web import Site
from web.intake.drafts import Draft
from web.intake.origin import Origin
from web.jobs.actions import submit_job
from web.pages.param_fields import param_fields
from web.pages.pasted_prompts import as_chat
from web.schemas.requests import JobOptions

INLINE = re.compile(
    r"<script(?! type=\"module\" src=\"/static/)|<style|\sstyle=|\son\w+=|javascript:",
    re.IGNORECASE,
)
WISHES = ("pause", "resume", "cancel", "retry")
NASTY = "<script>alert(1)</script>\"' onload=x"


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
        "/workers",
        "/login",
    ]


def offered(site: Site, job_id: str) -> list[str]:
    """What a job's page lets one do to it, in order."""
    return re.findall(
        rf'<form method="post" action="/jobs/{job_id}/(\w+)"', site.look(f"/jobs/{job_id}")
    )


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


def test_every_setting_has_a_field_with_a_label_and_its_bounds(site: Site) -> None:
    text = site.look("/")
    for field in param_fields():
        assert f'<label for="{field.input}"' in text
        assert f'name="{field.input}"' in text
        assert field.bounds in text


def test_prompts_are_asked_as_a_chat_where_the_model_has_a_template(site: Site) -> None:
    assert 'name="reads"' not in site.look("/")
    template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    site.services.fleet.publish(card("chatty", chat_template=template), b"")
    assert 'name="reads"' in site.look("/")
    for reads, asked in (
        ("text", {"prompt": "hello there"}),
        ("chat", as_chat({"prompt": "hello there"})),
    ):
        answer = site.send(model="chatty", reads=reads)
        assert answer.status_code == 303, answer.text
        job_id = answer.location.rpartition("/")[2]
        (item,) = site.services.store.items(job_id, 0, 10)
        assert asked.items() <= item.items()
        assert f'value="{reads}" checked' in site.look(f"/?like={job_id}")
    refused = site.send(model="echo", reads="chat")
    assert "Line 1: echo has no chat template" in html.unescape(refused.text)


def test_a_bad_setting_is_refused_at_its_field_and_what_was_typed_stays(site: Site) -> None:
    for name, typed in (
        ("top_p", "0"),
        ("n", "0"),
        ("seed", "-1"),
        ("frequency_penalty", "3"),
        ("max_tokens", "x"),
    ):
        answer = site.send(**{f"params__{name}": typed})
        assert answer.status_code == 422
        assert re.search(
            rf'id="params.{name}-errors" data-errors="params.{name}">\s*<p>', answer.text
        )
        assert f'value="{typed}"' in answer.text
        assert "hello there" in answer.text
    assert site.services.store.jobs("acme", None, 10) == ([], False)


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ({"params__max_new_tokens": "5"}, "max_new_tokens is called max_tokens here"),
        ({"params__logit_bias": '{"1": 1, "1": 2}'}, "the key '1' appears more than once"),
        ({"split": "words"}, "split must be line or blank"),
        ({"reads": "aloud"}, "reads must be text or chat"),
        ({"action": "explode"}, "action must be submit or try or check"),
        ({"priority": "5"}, "this form has no field priority"),
    ],
)
def test_what_the_form_would_drop_is_refused(site: Site, typed: dict[str, Any], says: str) -> None:
    answer = site.send(**typed)
    assert answer.status_code == 422
    assert says in html.unescape(answer.text)
    assert site.services.store.jobs("acme", None, 10) == ([], False)


def test_errors_come_as_json_to_the_script(site: Site) -> None:
    answer = site.browser.post(
        "/", data={"prompts": "x", "params.n": "0"}, headers={"Accept": "application/json"}
    )
    assert answer.status_code == 422
    assert answer.json and list(answer.json["errors"]) == ["params.n"]


def test_an_unknown_model_is_said_at_the_model(site: Site) -> None:
    answer = site.send(model="nobody")
    assert answer.status_code == 422
    assert re.search(r'data-errors="model">\s*<p>[^<]*nobody', answer.text)


def test_bad_lines_are_all_listed(site: Site) -> None:
    lines = b'{"prompt": "fine"}\n{"prompt": \nnot json\n{"prompt": ""}\n'
    data = {"action": "submit", "file": (io.BytesIO(lines), "prompts.jsonl")}
    answer = site.browser.post("/", data=data)
    assert answer.status_code == 422
    assert re.findall(r"Line (\d):", answer.text) == ["2", "3", "4"]


def test_a_file_and_pasted_prompts_are_one_too_many(site: Site) -> None:
    data = {"prompts": "hello", "file": (io.BytesIO(b"there\n"), "a.txt")}
    answer = site.browser.post("/", data=data)
    assert answer.status_code == 422
    assert "not both" in answer.text


def test_an_upload_over_the_limit_is_said_plainly(make_site: Callable[..., Site]) -> None:
    site = make_site(max_upload_bytes=2048)
    answer = site.browser.post("/", data={"file": (io.BytesIO(b"x" * 5000), "a.txt")})
    assert answer.status_code == 413
    assert "Too large" in answer.text
    assert "split the job" in answer.text


def test_pressing_twice_makes_one_job_and_changing_something_another(site: Site) -> None:
    first = site.send(token="t")
    assert first.status_code == 303
    assert site.send(token="t").location == first.location
    assert site.send(token="t", prompts="something else").location != first.location


def test_a_try_takes_the_first_three(site: Site) -> None:
    answer = site.send("try", prompts="\n".join("abcdef"))
    job = site.get(answer.location.replace("/jobs", "/v1/jobs")).json
    assert job["counts"]["total"] == 3


def test_checking_makes_nothing(site: Site) -> None:
    answer = site.send("check", prompts="one two\nthree", params__max_tokens="5")
    assert answer.json == {
        "errors": {},
        "summary": "2 prompts · 3 prompt tokens · at most 10 to generate",
    }
    assert site.job_keys() == []


def test_another_sites_page_cannot_press_our_buttons(site: Site) -> None:
    job_id = site.submit("hello")
    elsewhere = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
    for path in ("/", *(f"/jobs/{job_id}/{wish}" for wish in WISHES), "/logout", "/login"):
        assert site.browser.post(path, headers=elsewhere).status_code == 403
    job = site.services.store.job(job_id)
    assert (job["cancel_requested"], job["paused"]) == ("0", "0")


def test_a_job_offers_what_would_do_something(site: Site) -> None:
    job_id, worker = site.submit("a", "b"), site.worker()
    assert offered(site, job_id) == ["pause", "cancel"]
    taken = worker.take(1)
    site.browser.post(f"/jobs/{job_id}/pause")
    assert offered(site, job_id) == ["resume", "cancel"]
    assert "0 of 2 done, paused" in site.look(f"/jobs/{job_id}")
    assert worker.take().runs == []
    site.browser.post(f"/jobs/{job_id}/resume")
    assert offered(site, job_id) == ["pause", "cancel"]
    site.browser.post(f"/jobs/{job_id}/cancel")
    assert offered(site, job_id) == []
    assert "Cancelling…" in site.look(f"/jobs/{job_id}")
    worker.finish(taken)
    assert offered(site, job_id) == []


def test_what_failed_is_retried_once_however_often_the_button_is_pressed(site: Site) -> None:
    job_id, worker = site.submit("a", "b"), site.worker()
    worker.finish(worker.take(1), error="engine_error")
    worker.run()
    assert offered(site, job_id) == ["retry"]
    (token,) = re.findall(r'name="token" value="(\w+)"', site.look(f"/jobs/{job_id}"))
    answers = [site.browser.post(f"/jobs/{job_id}/retry", data={"token": token}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [303, 303]
    assert answers[0].location == answers[1].location
    again = answers[0].location
    assert f'<a href="/jobs/{job_id}">' in site.look(again)
    assert f'<a href="{again}">' in site.look(f"/jobs/{job_id}")
    worker.run()
    assert offered(site, again.removeprefix("/jobs/")) == []


def test_a_wish_that_comes_too_late_is_answered_by_a_page(site: Site) -> None:
    job_id = site.submit("a")
    for wish, said in (
        ("retry", "is not over yet"),
        ("pause", "is over"),
        ("resume", "is over"),
        ("retry", "failed"),
    ):
        answer = site.browser.post(f"/jobs/{job_id}/{wish}", headers={"Accept": "text/html"})
        assert (answer.status_code, answer.mimetype) == (409, "text/html")
        assert said in answer.text
        site.worker().run()


def test_a_long_job_has_pages(site: Site) -> None:
    job_id = site.submit(*(f"prompt number {i}" for i in range(120)))
    rows = {
        number: re.findall(r'id="item-(\d+)"', site.look(f"/jobs/{job_id}?page={number}"))
        for number in (1, 3, 99)
    }
    assert rows[1] == [str(i) for i in range(50)]
    assert rows[3] == [str(i) for i in range(100, 120)]
    assert rows[99] == rows[3]


def test_a_long_output_is_cut_in_the_table_and_whole_on_its_own_page(site: Site) -> None:
    job_id = site.submit("hello")
    site.worker().run(text="word " * 1000)
    assert "more characters" in site.look(f"/jobs/{job_id}")
    assert "word " * 1000 in site.look(f"/jobs/{job_id}/items/0")


def test_every_continuation_is_shown(site: Site) -> None:
    job_id = site.submit("hello", params={"n": 3})
    site.worker().run(n=3)
    assert site.look(f"/jobs/{job_id}").count("said 0") == 3


def test_webhook_deliveries_are_shown_with_every_attempt(site: Site) -> None:
    job_id = site.submit("hello", webhook={"url": "https://example.com/hook"})
    site.worker().run()
    (event,) = site.services.store.hooks(job_id)
    tried = [
        {
            "at": 1_700_000_000_000,
            "duration_ms": 12,
            "status_code": 500,
            "error": "it said 500",
            "next_at": None,
        },
        {
            "at": 1_700_000_009_000,
            "duration_ms": 10,
            "status_code": None,
            "error": "no answer",
            "next_at": 1_700_000_030_000,
        },
    ]
    assert 'data-settled="no"' in site.look(f"/jobs/{job_id}")  # the page goes on looking
    site.services.redis.hset(
        keys.hook(event["id"]), mapping={"tries": json.dumps(tried), "status": "failed"}
    )
    text = site.look(f"/jobs/{job_id}")
    assert 'data-settled="yes"' in text
    for said in (
        "https://example.com/hook",
        "job.finished",
        "HTTP 500 in 12 ms",
        "it said 500",
        "no answer",
        "next at",
    ):
        assert said in text


def test_a_batchs_job_is_shown_like_any_other_what_was_refused_in_it_too(site: Site) -> None:
    drafts = [
        Draft({"custom_id": "good", "prompt": "a"}, line=1),
        Draft({"custom_id": "bad", "prompt": ""}, line=2),
    ]
    options = JobOptions.model_validate({"metadata": {"name": "nightly"}})
    batch = "batch_" + "a" * 20
    site.services.batches.create(batch, "acme", {"file": "file-1"})
    job_id = submit_job(site.services, "acme", options, drafts, Origin.batch(batch)).id
    assert "nightly" in site.look("/jobs")
    assert "good" in site.look(f"/jobs/{job_id}")
    assert "bad" in site.look(f"/jobs/{job_id}/items/1")
    worker = site.worker()
    worker.finish(worker.take(1))
    worker.finish(worker.take(1), error="invalid_request")
    answer = site.browser.post(f"/jobs/{job_id}/retry")
    assert answer.status_code == 409
    assert "was refused, and would be again" in answer.text


def test_the_command_of_a_small_job_holds_its_items(site: Site) -> None:
    job_id = site.submit("it's one", params={"n": 2})
    text = site.look(f"/jobs/{job_id}")
    command = re.search(r"<code data-copy>(curl .*?)</code>", text, re.DOTALL)
    assert command
    assert "it&#39;" in command[1]
    assert "/v1/jobs" in command[1]


def test_the_command_of_a_large_job_uploads_a_file(site: Site) -> None:
    job_id = site.submit(*(f"prompt {i}" for i in range(10)))
    assert "-F file=@prompts.jsonl" in site.look(f"/jobs/{job_id}")


def test_what_is_not_there_is_a_page(site: Site) -> None:
    for path in (
        "/jobs/job_0nothing",
        "/?like=job_0nothing",
        f"/jobs/{site.submit('hello')}/items/7",
    ):
        answer = site.browser.get(path)
        assert answer.status_code == 404
        assert "Not found" in answer.text


CHROMIUM = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,"
    "application/signed-exchange;v=b3;q=0.7"
)
FIREFOX = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize("accept", ["text/html,*/*;q=0.8", CHROMIUM, FIREFOX])
def test_browsers_get_every_error_as_a_page_and_programs_as_before(site: Site, accept: Any) -> None:
    problem, openai = "application/problem+json", "application/json"
    paths = {
        "/nowhere": problem,
        "/v1/jobs/job_0nothing": problem,
        "/v1/nowhere": openai,
        "/v1/models/x": openai,
    }
    for path, mimetype in paths.items():
        answer = site.browser.get(path, headers={"Accept": accept})
        assert answer.status_code == 404
        assert "Not found" in answer.text
        assert answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Request-Id"]
        assert site.browser.get(path, headers={"Accept": "*/*"}).mimetype == mimetype


def test_without_redis_pages_ask_to_try_again(
    make_site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site()
    monkeypatch.setattr(site.services.redis, "execute_command", _away)
    answer = site.browser.get("/jobs")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert "Try again" in answer.text


def _away(*_args: object, **_options: object) -> None:
    import redis

    raise redis.ConnectionError("away")


@pytest.mark.parametrize("path", ["base.css", "form.js", "live.js", "logo.svg"])
def test_assets_are_served(site: Site, path: str) -> None:
    with site.browser.get(f"/static/{path}") as answer:
        assert answer.status_code == 200


def test_the_list_of_jobs_says_what_is_kept_and_what_may_be(make_site: Callable[..., Site]) -> None:
    site = make_site(max_stored_bytes=3 * 2**30)
    site.services.redis.hset("pm:stored:acme", mapping={"jobs": 2**20, "files": 2**19})
    assert "take 1.5 MiB of 3 GiB." in site.look("/jobs")
    assert "take 1.5 MiB." in make_site(max_stored_bytes=0).look("/jobs")
