"""Studies of real jobs, and people who rate in a browser."""

from __future__ import annotations

from typing import Any

from flask.testing import FlaskClient

from tests.support.web import Answer, Web


def finished(web: Web, text: str, rows: int = 3, **job: Any) -> str:
    """The id of a job that is over: its outputs are `text` and the number of the row."""
    items = job.pop("items", None) or [{"prompt": f"prompt {i}"} for i in range(rows)]
    job_id = str(web.post("/v1/jobs", json={"items": items, **job}).json["id"])
    worker = web.worker()
    worker.run(room=len(items), text=text)
    worker.incarnation.release()
    assert web.services.store.job(job_id).status.terminal
    return job_id


def ask(web: Web, *jobs: str, **wanted: Any) -> Answer:
    """Ask for a study of pairs."""
    body = {"jobs": [*jobs], "kind": "pairs", "criteria": ["fluency"], **wanted}
    return web.post("/v1/studies", json=body)


def study_of(web: Web, *jobs: str, **wanted: Any) -> Any:
    """The study, as it is answered."""
    answer = ask(web, *jobs, **wanted)
    assert answer.status_code == 201, answer.text
    return answer.json


def link(web: Web, study_id: str, name: str = "Ada") -> tuple[str, str]:
    """The id of a new rater, and the secret of their link."""
    answer = web.post(f"/v1/studies/{study_id}/raters", json={"name": name})
    assert answer.status_code == 201, answer.text
    return answer.json["id"], answer.json["url"].partition("token=")[2]


def rater(web: Web, study_id: str, name: str = "Ada") -> FlaskClient:
    """A browser in which the link's button was pressed."""
    browser = web.app.test_client()
    _, secret = link(web, study_id, name)
    assert browser.post("/rate/open", data={"token": secret}).status_code == 303
    return browser


def next_of(browser: FlaskClient) -> Any:
    answer = browser.get("/rate/v1/rating/next")
    assert answer.status_code == 200, answer.text
    return answer.json


def rate(browser: FlaskClient, **answers: Any) -> Any:
    """Rate what is next, and answer what it was."""
    task = next_of(browser)
    answer = browser.put(f"/rate/v1/rating/{task['task']}", json=answers)
    assert answer.status_code == 204, answer.text
    return task


def prefer(browser: FlaskClient, text: str, tasks: int) -> None:
    """Rate so many tasks, and call that better which begins with a text."""
    for _ in range(tasks):
        left = next_of(browser)["left"].startswith(text)
        rate(browser, fluency="left" if left else "right")
