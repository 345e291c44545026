"""Submits sweeps to a web tier, and looks at what they leave."""

from __future__ import annotations

import json
from typing import Any

from tests.support.web import Answer, Web

AXES = {"temperature": [0, 0.7], "stop": [["\n"], ["."]]}


def sweep(web: Web, varied: Any = None, prompts: list[str] | None = None, **job: Any) -> Answer:
    headers = job.pop("headers", {})
    key = job.pop("key", None)
    body = {"prompts": prompts or ["one two", "three"], "sweep": AXES if varied is None else varied}
    headers["Content-Type"] = "application/json"
    # The test client's own JSON has sorted names; their order is that of the combinations.
    return web.post("/v1/sweeps", data=json.dumps(body | job), headers=headers, key=key)


def made(web: Web, *args: Any, **job: Any) -> Any:
    """The JSON of a sweep that is accepted."""
    answer = sweep(web, *args, **job)
    assert answer.status_code == 202, answer.text
    return answer.json


def kept(web: Web) -> set[str]:
    """Keys of jobs, stages, sweeps and idempotency keys, and the tenant's lists."""
    names = ("job", "stage", "sweep", "sweepidem", "idem", "ready", "tenant:acme")
    found = {key.decode() for name in names for key in web.services.redis.keys(f"pm:{name}:*")}
    return found - {"pm:tenant:acme:links", "pm:tenant:acme:sessions"}
