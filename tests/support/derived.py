"""Jobs made of the rows of others, in a web tier whose background work a test does itself."""

from __future__ import annotations

from typing import Any

from tests.support.cards import card
from tests.support.scored import FEATURES
from tests.support.web import Answer, Web
from web.jobs.deriver import Deriver

TEMPLATE = {"prompt": "judge {{output}}"}
PAIR = {"prompt": "{{output_a}} or {{output_b}}"}


def derive(web: Web, *jobs: str, **fields: Any) -> Answer:
    """Submit a job of these jobs' rows."""
    template = PAIR if len(jobs) > 1 else TEMPLATE
    body = {"input_from": {"jobs": [*jobs]}, "template": template, **fields}
    return web.post("/v1/jobs", json=body)


def derived(web: Web, *jobs: str, **fields: Any) -> str:
    answer = derive(web, *jobs, **fields)
    assert answer.status_code == 202, answer.text
    return str(answer.json["id"])


def settle(web: Web) -> None:
    """What the background does: make every job whose sources are over."""
    deriver = Deriver(web.services)
    while deriver.derive_due():
        pass


def job(web: Web, job_id: str) -> Any:
    answer = web.get(f"/v1/jobs/{job_id}")
    assert answer.status_code == 200, answer.text
    return answer.json


def items(web: Web, job_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = web.get(f"/v1/jobs/{job_id}/items?limit=1000").json["data"]
    return found


def rendered(web: Web, job_id: str) -> list[str]:
    """The prompts of its items as the model reads them."""
    found = web.get(f"/v1/jobs/{job_id}/items?limit=1000&include=prompt").json["data"]
    return [row["rendered"] for row in found]


def can_judge(web: Web) -> Web:
    """Its model writes structured output."""
    web.card = card(features=FEATURES)
    web.services.fleet.publish(web.card, b"")
    return web


def answer_all(web: Web, *texts: str) -> None:
    """A worker says these, an item each."""
    web.worker().say(*({"text": text} for text in texts))
