"""Scores on the pages of jobs and items."""

from __future__ import annotations

import html
from typing import Any

import pytest

from tests.support.cards import card
from tests.support.web import Site

TEXTS = ["<b>yes", " no\n"]
SCORES = [
    {"logprob": -0.1, "token_count": 1, "probability": 0.9, "probability_per_token": 0.8},
    {"logprob": -2.3, "token_count": 2, "probability": 0.1, "probability_per_token": 0.2},
]
CHOICES: list[Any] = [
    {"text": text, "logprob": each["logprob"], "probability": each["probability"]}
    for text, each in zip(TEXTS, SCORES, strict=True)
]


@pytest.fixture
def scored(site: Site) -> str:
    """A job with continuations, a choice, and continuations that wait."""
    site.card = card(features=("structured_output", "continuations"))
    site.services.fleet.publish(site.card, b"")
    asked = {"prompt": "which", "continuations": TEXTS}
    output = {"choice": TEXTS, "probabilities": True}
    items = [asked, {"prompt": "is it", "params": {"output": output}}, asked]
    answer = site.post("/v1/jobs", json={"items": items})
    assert answer.status_code == 202, answer.text
    chosen = {"text": TEXTS[0], "choices": CHOICES}
    site.worker(site.card).hand_in({"continuations": SCORES}, {"outputs": [chosen]})
    return str(answer.json["id"])


def test_a_jobs_page_shows_the_likeliest_text(site: Site, scored: str) -> None:
    page = site.look(f"/jobs/{scored}")
    assert "90.0 % · the likeliest of 2 continuations" in page
    assert page.count("&lt;b&gt;yes") >= 2 and "<b>yes" not in page
    command = html.unescape(page.split("curl ")[1])
    assert '"continuations": ["<b>yes", " no\\n"]' in command


def test_an_items_page_has_a_table_of_scores(site: Site, scored: str) -> None:
    page = site.look(f"/jobs/{scored}/items/0")
    assert "<h2>Continuations</h2>" in page and "␣no↵" in page
    assert all(each in page for each in ("90.0 %", "80.0 %", "-2.300", "By the token"))
    page = site.look(f"/jobs/{scored}/items/1")
    assert "<h2>Output" in page and "␣no↵" in page and "By the token" not in page
    waiting = site.look(f"/jobs/{scored}/items/2")
    assert (
        "␣no↵" in waiting and "%" not in waiting.split("Continuations</h2>")[1].split("</table>")[0]
    )
