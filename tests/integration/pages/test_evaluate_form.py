"""The form that starts an evaluation: what it sends, and what it says where something is wrong."""

from __future__ import annotations

import html
import io
import re
from typing import Any, cast

import pytest

from tests.support.web import Answer, Site


@pytest.fixture
def job_id(site: Site) -> str:
    """A job that is over, with two items that have ids."""
    items = [{"custom_id": name, "prompt": name} for name in ("a", "b")]
    made = site.post("/v1/jobs", json={"items": items, "metrics": ["chrf"]}).json["id"]
    site.worker().run(2)
    return str(made)


def press(site: Site, job_id: str, file: tuple[str, str] | None = None, **typed: Any) -> Answer:
    ticked = {f"metrics.{name}": "on" for name in typed.pop("metrics", [])}
    data: dict[str, Any] = {name.replace("__", "."): value for name, value in typed.items()}
    data |= ticked
    if file:
        data["file"] = (io.BytesIO(file[1].encode()), file[0])
    answer = site.browser.post(f"/jobs/{job_id}/evaluate", data={"action": "start", **data})
    return cast(Answer, answer)


def errors_at(page: str, name: str) -> str:
    found = re.search(rf'id="{re.escape(name)}-errors".*?</div>', page, re.S)
    return html.unescape(found[0]) if found else ""


def test_the_form_has_every_metric_with_its_meaning_and_the_jobs_own_chosen(
    site: Site, job_id: str
) -> None:
    page = site.look(f"/jobs/{job_id}/evaluate")
    assert re.findall(r'name="metrics.(\w+)"[^>]* checked', page) == ["chrf"]
    assert page.count('type="checkbox"') == 16
    assert "How many characters the output has." in page
    assert f'/jobs/{job_id}/evaluate">Evaluate…' in site.look(f"/jobs/{job_id}")


def test_it_starts_what_was_chosen_and_leads_to_the_job(site: Site, job_id: str) -> None:
    table = "custom_id,reference\nb,said 1\na,said 0\n"
    answer = press(
        site,
        job_id,
        ("gold.csv", table),
        metrics=["bleu", "rouge_l"],
        metrics__bleu__tokenize="char",
        rule__0__metric="rouge_l",
        rule__0__kind="min",
        rule__0__limit="0.3",
        rule__1__metric="token_f1",
        rule__1__kind="max_drop",
        rule__1__limit="0.02",
        rule__1__baseline=job_id,
    )
    assert answer.status_code == 303, answer.text
    assert answer.location.endswith(f"/jobs/{job_id}#evaluation")
    asked = site.services.evaluations.of_job(job_id)[0].asked
    assert asked.metrics == [{"name": "bleu", "tokenize": "char"}, "rouge_l", "token_f1"]
    assert [(rule["metric"], rule["min"], rule["max_drop"]) for rule in asked.gate] == [
        ("rouge_l", 0.3, None),
        ("token_f1", None, 0.02),
    ]
    assert "waits for a process that evaluates" in site.look(f"/jobs/{job_id}")


def test_what_is_wrong_stands_where_it_was_typed_and_nothing_is_lost(
    site: Site, job_id: str
) -> None:
    table = "custom_id,reference\nnobody,text\n"
    rules: Any = {"rule__1__metric": "rouge_l", "rule__1__kind": "max", "rule__1__limit": "many"}
    answer = press(site, job_id, metrics=["rouge_l"], **rules)
    assert answer.status_code == 422 and "must be a number" in errors_at(answer.text, "rule.1")
    assert (
        'value="many"' in answer.text
        and 'value="on" checked aria-describedby="about-rouge_l"' in answer.text
    )
    answer = press(site, job_id, ("gold.csv", table), metrics=["rouge_l"])
    assert answer.status_code == 422 and "line 2: no item of the job has" in errors_at(
        answer.text, "file"
    )
    answer = press(site, job_id, metrics=["perplexity"])
    assert answer.status_code == 422 and "log-prob" in errors_at(answer.text, "metrics")
    answer = press(site, job_id)
    assert answer.status_code == 422 and "choose a metric" in errors_at(answer.text, "metrics")
    gone: Any = {
        "rule__0__kind": "max_drop",
        "rule__0__limit": "0",
        "rule__0__baseline": "job_0gone",
    }
    answer = press(site, job_id, metrics=["rouge_l"], rule__0__metric="rouge_l", **gone)
    assert answer.status_code == 404 and "job_0gone" in errors_at(answer.text, "rule.0")
    assert site.services.evaluations.of_job(job_id) == []


def test_more_rules_are_offered_without_scripts(site: Site, job_id: str) -> None:
    answer = press(site, job_id, action="rule", metrics=["rouge_l"], rule__0__limit="0.5")
    assert answer.status_code == 200 and answer.text.count("<fieldset") == 4
    assert 'name="rule.0.limit" value="0.5"' in answer.text


def test_a_job_that_runs_or_is_anothers_is_not_evaluated(site: Site, job_id: str) -> None:
    running = site.submit("hello")
    assert site.browser.get(f"/jobs/{running}/evaluate").location.endswith(f"/jobs/{running}")
    answer = press(site, running, metrics=["length_chars"])
    assert answer.status_code == 409 and "not over" in errors_at(answer.text, "form")
    site.services.api_keys.create_key("rival")
    site.browser = site.log_in("rival")
    assert site.browser.get(f"/jobs/{job_id}/evaluate").status_code == 404
    assert press(site, job_id, metrics=["length_chars"]).status_code == 404


def test_two_presses_start_one_evaluation_and_another_choice_another(
    site: Site, job_id: str
) -> None:
    table = ("gold.csv", "custom_id,reference\nb,said 1\na,said 0\n")
    for metrics in (["rouge_l"], ["rouge_l"], ["chrf"]):
        assert press(site, job_id, table, metrics=metrics, token="t").status_code == 303
    found = site.services.evaluations.of_job(job_id)
    assert [each.asked.metrics for each in found] == [["chrf"], ["rouge_l"]]
    assert re.search(r'name="token" value="\w{32}"', site.look(f"/jobs/{job_id}/evaluate"))
