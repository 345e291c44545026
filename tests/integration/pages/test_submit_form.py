"""The form that submits jobs: its fields, what it refuses, and what each button does."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.cards import card
from tests.support.web import Site
from web.pages.param_fields import param_fields
from web.pages.pasted_prompts import as_chat


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
    refused = site.send(model="echo", reads="chat", prompts="hello\nthere")
    said = re.findall(r'data-errors="reads">\s*<p>(.*?)</p>', refused.text)
    assert len(said) == 1 and "echo has no chat template" in html.unescape(said[0])


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
        ({"format.delimiter": "dash"}, "format.delimiter must be nothing or comma"),
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
    form = {"action": "check", "prompts": "one two\nthree", "params.max_tokens": "5"}
    answer = site.browser.post("/", data=form, headers={"Accept": "application/json"})
    assert answer.json == {
        **{name: answer.json and answer.json[name] for name in ("draft", "seen")},
        "apart": False,
        "errors": {},
        "summary": "2 prompts · 3 prompt tokens · at most 10 to generate",
    }
    assert site.job_keys() == []
