"""What the gallery has of studies: one of pairs and one on a scale, with ratings and people."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis

from common.store.raters import Raters

PAGES = {
    "studies": "/studies",
    "study": "/studies/{study}",
    "study-scale": "/studies/{study-scale}",
    "study-new": "/studies/new?job={sweep-0}&job={sweep-1}",
}
ANSWERS: dict[str, tuple[str | int, ...]] = {
    "pairs": ("left", "right", "right", "tie", "skip"),
    "scale": (3, 4, 5, 5),
}


def add_studies(client: redis.Redis, call: Callable[..., Any], jobs: list[str]) -> dict[str, str]:
    """The ids of the studies, by name; `call` sends a request with the tenant's key."""
    return {
        "study": _study(client, call, jobs, "pairs"),
        "study-scale": _study(client, call, jobs, "scale"),
    }


def _study(client: redis.Redis, call: Callable[..., Any], jobs: list[str], kind: str) -> str:
    """A study in which somebody gives the answers in turn, and somebody else was revoked."""
    body = {"jobs": jobs, "kind": kind, "criteria": ["fluency", "relevance"]}
    study = str(call("POST", "/v1/studies", json=body)["id"])
    people = [{"name": each} for each in ("Ada", "Grace Brewster Hopper")]
    links = [call("POST", f"/v1/studies/{study}/raters", json=each) for each in people]
    call("DELETE", f"/v1/studies/{study}/raters/{links[1]['id']}")
    raters, answers = Raters(client), ANSWERS[kind]
    grant = raters.grant_of_secret(links[0]["url"].partition("token=")[2])
    assert grant
    for number in range(50):
        if (given := raters.next_task(grant)).task:
            answer = answers[number % len(answers)]
            raters.vote(grant, given.number, {"fluency": answer, "relevance": answers[-1]})
    return study
