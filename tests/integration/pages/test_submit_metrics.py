"""The submit form's boxes for metrics: what they send, and what fills them in."""

from __future__ import annotations

import re
from typing import Any, cast

from tests.integration.pages.steps import hidden, press, step
from tests.integration.pages.test_submit_files import error_at
from tests.support.web import Answer, Site


def ticked(page: str) -> list[str]:
    return re.findall(r'name="metrics\.(\w+)"[^>]* checked', page)


def made(site: Site, answer: Answer) -> Any:
    """The job that a submit made."""
    assert answer.status_code == 303, answer.text
    return site.get(answer.location.replace("/jobs", "/v1/jobs")).json


def test_what_is_ticked_are_the_metrics_of_the_job_and_of_one_like_it(site: Site) -> None:
    typed: Any = {
        "metrics.length_chars": "on",
        "metrics.bleu": "on",
        "metrics.bleu.tokenize": "char",
    }
    job = made(site, press(site, "submit", prompts="one", **typed))
    assert job["metrics"] == [{"name": "bleu", "tokenize": "char"}, "length_chars"]
    page = site.look(f"/?like={job['id']}")
    assert ticked(page) == ["bleu", "length_chars"] and "<option selected>char" in page
    assert made(site, press(site, "submit", prompts="one"))["metrics"] == []


def test_a_preset_ticks_its_metrics_in_place_of_others(site: Site) -> None:
    page = step(site, "preset", prompts="a", preset="translate", metrics__repetition="on")
    assert ticked(page) == ["chrf", "bleu"]
    page = step(site, "preset", prompts="a", preset="summarise", metrics__chrf="on")
    assert ticked(page) == ["rouge_1", "rouge_2", "rouge_l", "length_tokens"]
    draft = site.look(f"/?draft={hidden(page, 'draft')}")
    assert ticked(draft) == ticked(page)


def test_a_preset_stays_named_while_one_of_its_metrics_is_ticked(site: Site) -> None:
    template: Any = {"template.text": "Hello {{text}}", "reads": "text"}
    body: Any = {"task": "greet", "title": "Greet", "metrics": ["length_chars", "repetition"]}
    body |= {"template": {"prompt": "Hello {{text}}"}}
    assert site.call("PUT", "/v1/presets/mine", json=body).status_code == 201
    used = {"prompts": "a", "preset": "mine", "preset.used": "mine@1", **template}
    job = made(site, press(site, "submit", **used, metrics__repetition="on"))
    assert (job["preset"], job["metrics"]) == ("mine@1", ["repetition"])
    job = made(site, press(site, "submit", **used))
    assert (job["preset"], job["metrics"]) == (None, [])  # or the preset's would come back


def test_what_is_wrong_with_a_metric_stands_at_the_metrics(site: Site) -> None:
    refused = press(site, "submit", prompts="one", metrics__perplexity="on")
    assert refused.status_code == 422 and ticked(refused.text) == ["perplexity"]
    assert "Type 0 for logprobs" in error_at(refused.text, "metrics.perplexity")
    assert "<details open>\n    <summary>Metrics" in refused.text
    checked = step(site, "check", prompts="one", metrics__perplexity="on")
    assert "Type 0 for logprobs" in error_at(checked, "metrics.perplexity")
    job = made(
        site,
        press(site, "submit", prompts="one", metrics__perplexity="on", params__logprobs="0"),
    )
    assert job["metrics"] == ["perplexity"]


def test_metrics_that_there_are_not_are_refused(site: Site) -> None:
    refused = press(site, "submit", prompts="one", metrics__beauty="on")
    assert refused.status_code == 422 and "no field metrics.beauty" in refused.text
    refused = press(site, "submit", prompts="one", metrics__bleu__tokenize="klingon")
    assert refused.status_code == 422 and "metrics.bleu.tokenize must be" in refused.text


def test_a_sweeps_jobs_have_the_metrics(site: Site) -> None:
    swept: Any = {"sweep.name": "seed", "sweep.values": "1\n2"}
    answer = press(site, "submit", prompts="one", metrics__length_chars="on", **swept)
    sweep = cast(Any, site.get(answer.location.replace("/sweeps", "/v1/sweeps")).json)
    jobs = [site.get(f"/v1/jobs/{job['id']}").json for job in sweep["jobs"]]
    assert [job["metrics"] for job in jobs] == [["length_chars"]] * 2
