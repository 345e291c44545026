"""The page of a job: what can be done to it, its items, outputs and deliveries."""

from __future__ import annotations

import html
import io
import json
import re
import shlex

from common.store import keys
from tests.support.web import Site
from web.intake.drafts import Draft
from web.intake.origin import Origin
from web.jobs.actions import submit_job
from web.schemas.requests import JobOptions


def offered(site: Site, job_id: str) -> list[str]:
    """What a job's page lets one do to it, in order."""
    forms = rf'(?:action|id="cancel" href)="/jobs/{job_id}/(?!go|rename)(\w+)"'
    return list(dict.fromkeys(re.findall(forms, site.look(f"/jobs/{job_id}"))))


def test_a_job_offers_what_would_do_something(site: Site) -> None:
    job_id, worker = site.submit("a", "b"), site.worker()
    assert offered(site, job_id) == ["pause", "cancel"]
    taken = worker.take(1)
    site.browser.post(f"/jobs/{job_id}/pause")
    assert offered(site, job_id) == ["resume", "cancel"]
    assert ">paused<" in site.look(f"/jobs/{job_id}")
    assert worker.take().runs == []
    site.browser.post(f"/jobs/{job_id}/resume")
    assert offered(site, job_id) == ["pause", "cancel"]
    site.browser.post(f"/jobs/{job_id}/cancel")
    assert offered(site, job_id) == []
    assert "Cancelling…" in site.look(f"/jobs/{job_id}")
    worker.finish(taken)
    assert offered(site, job_id) == ["rerun"]


def test_what_failed_is_retried_once_however_often_the_button_is_pressed(site: Site) -> None:
    job_id, worker = site.submit("a", "b"), site.worker()
    worker.finish(worker.take(1), error="engine_error")
    worker.run()
    assert offered(site, job_id) == ["retry"]
    (token,) = set(re.findall(r'name="token" value="(\w+)"', site.look(f"/jobs/{job_id}")))
    answers = [site.browser.post(f"/jobs/{job_id}/retry", data={"token": token}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [303, 303]
    assert answers[0].location == answers[1].location
    again = answers[0].location
    assert f'<a href="/jobs/{job_id}">' in site.look(again)
    assert f'<a href="{again}">' in site.look(f"/jobs/{job_id}")
    worker.run()
    assert offered(site, again.removeprefix("/jobs/")) == []


def test_what_is_left_of_a_cancelled_job_is_run_as_a_new_one(site: Site) -> None:
    job_id, worker = site.submit("a", "b", "c", "d"), site.worker()
    worker.run(1)
    assert "1 item of 4 is done" in site.look(f"/jobs/{job_id}/cancel")
    assert "Cancel 3 items" in site.look(f"/jobs/{job_id}/cancel")
    site.browser.post(f"/jobs/{job_id}/cancel")
    text = site.look(f"/jobs/{job_id}")
    assert "Run what is left (3)" in text
    (token,) = set(re.findall(r'name="token" value="(\w+)"', text))
    sent = {"rows": "unfinished", "token": token}
    answers = [site.browser.post(f"/jobs/{job_id}/rerun", data=sent) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [303, 303]
    assert answers[0].location == answers[1].location
    again = site.look(answers[0].location)
    assert "0 of 3 done" in again
    assert f'Runs items again of <a href="/jobs/{job_id}">' in again
    assert site.browser.get(f"/jobs/{job_id}/cancel").status_code == 303  # it is over


def test_failures_are_grouped_and_each_group_is_retried_by_itself(site: Site) -> None:
    job_id, worker = site.submit(*"abcdefgh"), site.worker()
    worker.finish(worker.take(2), error="engine_error")
    worker.finish(worker.take(3), error="unreadable")
    worker.run()
    text = site.look(f"/jobs/{job_id}")
    groups = re.findall(r'<b class="bad">(\w+)</b>.*?<td class="right num">(\d+)</td>', text, re.S)
    assert groups == [("unreadable", "3"), ("engine_error", "2")]
    assert re.findall(r'id="item-(\d+)"', site.look(f"/jobs/{job_id}?error=engine_error")) == [
        "0",
        "1",
    ]
    made = site.browser.post(f"/jobs/{job_id}/retry", data={"error": "engine_error", "token": "t"})
    assert "0 of 2 done" in site.look(made.location)
    other = site.browser.post(f"/jobs/{job_id}/retry", data={"error": "unreadable", "token": "t"})
    assert "0 of 3 done" in site.look(other.location)


def test_results_of_retried_items_are_in_the_download(site: Site) -> None:
    job_id, worker = site.submit("a", "b"), site.worker()
    worker.finish(worker.take(1), error="engine_error")
    worker.run()
    site.browser.post(f"/jobs/{job_id}/retry")
    worker.run()
    link = re.search(r'href="([^"]+results.csv[^"]+)"', site.look(f"/jobs/{job_id}"))
    assert link
    answer = site.browser.get(link[1].replace("&amp;", "&"))
    assert answer.data.startswith(b"\xef\xbb\xbf")
    assert b"failed" not in answer.data


def test_charts_have_a_table_of_their_numbers(site: Site) -> None:
    job_id, worker = site.submit(*"abcdef"), site.worker()
    assert "There is no result yet" in site.look(f"/jobs/{job_id}/charts")
    worker.run()
    text = site.look(f"/jobs/{job_id}/charts")
    assert text.count('<svg viewBox="0 0 600 140"') == 4
    assert '<td>ended by itself</td><td class="right num">6</td>' in text


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
        keys.hook(event.id), mapping={"tries": json.dumps(tried), "status": "failed"}
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


def test_rows_that_were_refused_are_not_offered_to_be_retried(site: Site) -> None:
    table = b"id,text\n1,one\n2,\n"
    options = {"template": {"prompt": "Say {{text}}"}, "bad_rows": "fail"}
    data = {"job": json.dumps(options), "file": (io.BytesIO(table), "t.csv")}
    job_id = site.post("/v1/jobs", data=data).json["id"]
    worker = site.worker()
    worker.finish(worker.take(1))
    worker.finish(worker.take(1), error="missing_variable")
    text = site.look(f"/jobs/{job_id}")
    assert "missing_variable" in text
    assert "Retry" not in text and "correct the rows" in text


def test_the_command_of_a_table_job_makes_the_same_job(site: Site) -> None:
    rows = "".join(f"{number},text {number}\n" for number in range(9))
    options = {
        "template": {"prompt": "Say {{text}}"},
        "columns": {"custom_id": "id"},
        "clean": ["whitespace"],
        "bad_rows": "fail",
        "metadata": {"name": "my table.csv"},
    }
    table = f"id,text\n{rows}10,\n".encode()
    data = {"job": json.dumps(options), "file": (io.BytesIO(table), "my table.csv")}
    job_id = site.post("/v1/jobs", data=data).json["id"]
    worker = site.worker()
    worker.finish(worker.take(9))
    worker.finish(worker.take(1), error="missing_variable")
    command = re.search(r"<code data-copy>(curl .*?)</code>", site.look(f"/jobs/{job_id}"), re.S)
    assert command
    words = shlex.split(html.unescape(command[1]))
    assert "file=@my table.csv" in words
    sent = json.loads(next(word for word in words if word.startswith("job="))[4:])
    assert {name: sent.get(name) for name in options} == options


def test_the_command_of_a_few_items_with_variables_holds_them(site: Site) -> None:
    item = {"vars": {"text": "one"}, "custom_id": "a", "reference": "b"}
    job = {"template": {"prompt": "Say {{text}}"}, "items": [item]}
    job_id = site.post("/v1/jobs", json=job).json["id"]
    command = re.search(r"<code data-copy>(curl .*?)</code>", site.look(f"/jobs/{job_id}"), re.S)
    assert command
    sent = json.loads(shlex.split(html.unescape(command[1]))[-1])
    assert (sent["items"], sent["template"]) == ([item], job["template"])
