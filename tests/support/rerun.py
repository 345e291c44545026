"""Short ways to make jobs of a table, to end them, and to run their items again."""

from __future__ import annotations

from typing import Any

from tests.support.web import Answer, Web

TABLE: dict[str, Any] = {
    "template": {"prompt": "say {{text}}"},
    "params": {"temperature": 0.5, "max_tokens": 9},
    "metadata": {"name": "table"},
    "items": [
        {
            "custom_id": f"c{i}",
            "vars": {"id": f"00{i}", "text": f"word {i}", "other": {"n": i}},
            "reference": [f"gold {i}"],
            "metadata": {"k": i},
        }
        for i in range(5)
    ],
}
KEPT = ("custom_id", "vars", "reference", "metadata")


def submit(web: Web, **job: Any) -> str:
    answer = web.post("/v1/jobs", json=TABLE | job)
    assert answer.status_code == 202, answer.text
    return str(answer.json["id"])


def rerun(web: Web, job_id: str, **wanted: Any) -> Answer:
    return web.post(f"/v1/jobs/{job_id}/rerun", json=wanted)


def rows(web: Web, job_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = web.get(f"/v1/jobs/{job_id}/items?limit=1000").json["data"]
    return found


def kept(web: Web, job_id: str) -> list[dict[str, Any]]:
    return [{name: row[name] for name in KEPT} for row in rows(web, job_id)]


def end(web: Web, failing: int = 0) -> None:
    """So many fail, the others succeed."""
    worker = web.worker()
    if failing:
        worker.finish(worker.take(failing), error="engine_error")
    while (taken := worker.take(8)).runs:
        worker.finish(taken)
