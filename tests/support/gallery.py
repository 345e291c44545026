"""Every page of a running promptmill, by name: what axe-core checks and `make screenshots` shows.

A new page, or a new state of one, is a line in `PAGES`, and in `_fill` what it is about.
"""

from __future__ import annotations

import json
from typing import Any

import requests
from playwright.sync_api import Browser, Page

from common.store.api_keys import ApiKeys
from common.store.fleet import Fleet
from common.store.form_drafts import FormDrafts
from tests.support import (
    gallery_comparisons,
    gallery_evaluations,
    gallery_outputs,
    gallery_studies,
)
from tests.support.axe import Theme
from tests.support.browser import NO_PROXIES, BrowserSite
from tests.support.cards import card
from tests.support.waiting import wait_until
from tests.support.web import Worker

TABLE = """1,"The <b>tea</b> was hot, and the staff kind.",positive
2,"Nobody answered my three letters about the parcel, which came late, wet and empty.",negative
3,"It works, as it says on the box.",neutral
"""
SCORED = ("logprob", "token_count", "probability", "probability_per_token")
SCORES = [
    (" Paris", -0.26061, 1, 0.999316938, 0.97354126),
    (" Rome", -7.56516, 1, 0.000672012741, 0.00065467932),
    (" a large city\non a river", -11.673056, 6, 1.10494601e-05, 0.0258040602),
]
# Addresses; `{name}` is the id of a job, sweep or draft that `_fill` made.
PAGES = {
    "submit": "/",
    "submit-again": "/?like={done}",
    "submit-table": "/?draft={table}&step=check",
    "submit-bad-lines": "/?draft={bad-table}&step=check",
    "submit-scores": "/?draft={scores}&step=check",
    "jobs": "/jobs",
    "jobs-found": "/jobs?search=week&status=completed",
    "jobs-none-found": "/jobs?search=nothing+of+this+name",
    "job-done": "/jobs/{done}",
    "job-last-page": "/jobs/{done}?page=3",
    "job-long": "/jobs/{long}",
    "job-failed": "/jobs/{failed}",
    "job-mixed": "/jobs/{mixed}",
    "job-cancelled": "/jobs/{cancelled}",
    "job-paused": "/jobs/{paused}",
    "job-waiting": "/jobs/{waiting}",
    "job-own-params": "/jobs/{own-params}",
    "job-columns": "/jobs/{columns}",
    "item-columns": "/jobs/{columns}/items/1",
    "job-full": "/jobs/{done}?rows=full",
    "job-found": "/jobs/{mixed}?state=failed&text=boom",
    "job-none-found": "/jobs/{done}?state=failed",
    "job-charts": "/jobs/{done}/charts",
    "job-cancel": "/jobs/{paused}/cancel",
    "item-tokens": "/jobs/{own-params}/items/1",
    "item": "/jobs/{done}/items/0",
    "job-scored": "/jobs/{scored}",
    "item-scored": "/jobs/{scored}/items/0",
    "item-choice": "/jobs/{scored}/items/1",
    "item-failed": "/jobs/{mixed}/items/1",
    "item-waiting": "/jobs/{waiting}/items/0",
    "sweeps": "/sweeps",
    "jobs-of-sweep": "/jobs?sweep={sweep}&order=-duration",
    "sweep": "/sweeps/{sweep}",
    "sweep-table": "/sweeps/{sweep-table}?row=28",
    "workers": "/workers",
    "people": "/people",
    "shares": "/jobs/{done}/shares",
    "error": "/nothing-here",
    **gallery_outputs.PAGES,
    **gallery_studies.PAGES,
    **gallery_comparisons.PAGES,
    **gallery_evaluations.PAGES,
}
DOORS = {"login": "/login", "login-link": "/login?token=x"}  # without a session


def columns_csv() -> str:
    """A table with more columns than are shown, of which one has no name."""
    lines = ["id,question,gold,,country,notes,priority,source"]
    lines += [
        f"q-{i},What is the capital of country {i}?,City {i},{i},Country {i},"
        f'"a longer note, with a comma, about country {i} and its capital",{i % 3},survey'
        for i in range(8)
    ]
    return "\n".join(lines)


class Gallery:
    """A tenant with a job in every state."""

    def __init__(self, site: BrowserSite):
        self._site = site
        self.tenant = site.new_tenant()
        self._key = ApiKeys(site.client).create_key(self.tenant)
        self._jobs: dict[str, str] = {}
        self._fill()

    def open(self, browser: Browser, name: str, theme: Theme, width: int) -> Page:
        """A page in a window of its own; close its context."""
        context = browser.new_context(
            base_url=self._site.url,
            color_scheme=theme,
            viewport={"width": width, "height": 900},
            reduced_motion="reduce",
        )
        context.set_default_timeout(10_000)
        if name in PAGES:
            context.add_cookies([self._site.session(self.tenant)])
        page = context.new_page()
        page.goto({**PAGES, **DOORS}[name].format(**self._jobs))
        return page

    def _fill(self) -> None:
        words = "so many words that a line of the table is not enough for all of them, as item"
        self._submit("done", [f"{words} {i}" for i in range(130)], name="Summaries of last week")
        self._submit("long", [("a text of many words, " * 40).strip(), "short"])
        self._submit("mixed", ["fine", "boom one", "also fine", "boom two"], name="Half failed")
        self._submit("failed", ["boom", "boom again"])
        self._submit("cancelled", [f"{words} {i}" for i in range(200)], name="Stopped early")
        self._act("cancelled", "cancel")
        self._submit("paused", [f"{words} {i}" for i in range(70)], name="Waits for the night")
        self._act("paused", "pause")
        items: list[Any] = [
            {"custom_id": f"row-{i}", "prompt": f"{words} {i}", "params": {"temperature": i / 10}}
            for i in range(8)
        ]
        items[1]["params"] |= {"logprobs": 2, "n": 2, "max_tokens": 4}
        self._submit("own-params", items=items, name="Own parameters")
        Fleet(self._site.client).publish(card("sleepy", context=8192, slots=4), b"")
        self._submit("waiting", ["hello"], model="sleepy", params={"temperature": 0.5, "n": 2})
        self._upload("columns", columns_csv(), columns={"custom_id": "id", "reference": "gold"})
        self._sweep("sweep", prompts=[f"{words} {i}" for i in range(29)] + ["boom"])
        self._sweep(
            "sweep-table",
            template={"prompt": "Say it in the style of {{style}}: {{text}}"},
            items=[
                {"vars": {"text": f"{words} {i}", "style": "a song", "id": i}, "reference": words}
                for i in range(29)
            ],
        )
        self._score("scored")
        client = self._site.client
        self._jobs |= gallery_outputs.add_outputs(client, self.tenant, self._made)
        self._jobs |= gallery_comparisons.add_comparisons(client, self.tenant, self._made)
        self._draft("table", "customer reviews.csv", "id,text,reference\n" + TABLE)
        self._draft("bad-table", "bad rows.csv", "id,text\n" + "1,\n" * 40)
        ticked = {f"metrics.{name}": "on" for name in ("chrf", "bleu", "perplexity")}
        typed = {"prompts": "one\ntwo", "reads": "text", **ticked}
        self._jobs["scores"] = FormDrafts(client).keep(self.tenant, typed).id
        last = ("done", "long", "columns", "own-params", "mixed", "failed", "cancelled")
        for name in (*last, "sweep-0", "sweep-1", "sweep-5", "sweep-table-5"):
            self._wait(self._jobs[name])
        compared = [self._jobs["sweep-0"], self._jobs["sweep-1"]]
        self._jobs |= gallery_studies.add_studies(client, self._call, compared)
        self._jobs |= gallery_evaluations.add_evaluations(
            client, self.tenant, lambda **job: self._made(model="echo", **job), self._wait
        )

    def _submit(self, name_: str, prompts: list[str] | None = None, **fields: Any) -> None:
        metadata = {"name": fields.pop("name")} if "name" in fields else {}
        job = {"model": "echo", "metadata": metadata, **fields}
        job |= {"prompts": prompts} if prompts else {}
        self._jobs[name_] = self._made(**job)

    def _made(self, **job: Any) -> str:
        return str(self._call("POST", "/v1/jobs", json=job)["id"])

    def _score(self, name: str) -> None:
        """A job with continuations, a choice, and continuations that wait."""
        model = card("scorer", features=("structured_output", "continuations"))
        Fleet(self._site.client).publish(model, b"")
        asked = {
            "prompt": "The capital of France is",
            "continuations": [text for text, *_ in SCORES],
        }
        choice = {"output": {"choice": [text for text, *_ in SCORES], "probabilities": True}}
        items = [asked, {"prompt": "Which city is it?", "params": choice}, asked]
        self._submit(name, items=items, model="scorer", name="Scored")
        found = [dict(zip(SCORED, (logprob, *rest), strict=True)) for _, logprob, *rest in SCORES]
        choices = [
            {"text": text, "logprob": logprob, "probability": probability}
            for text, logprob, _, probability, _ in SCORES
        ]
        output = {"text": " Paris", "choices": choices}
        worker = Worker(self._site.client, model)
        worker.hand_in({"continuations": found}, {"outputs": [output]})
        worker.incarnation.release()

    def _sweep(self, name: str, **items: Any) -> None:
        varied = {"temperature": [0, 0.7, 1.3], "stop": [["\n"], ["\n\n", "END OF THE TEXT"]]}
        job = {"model": "echo", "metadata": {"name": "How warm?"}, **items}
        sweep = self._call("POST", "/v1/sweeps", json={**job, "sweep": varied})
        self._jobs[name] = sweep["id"]
        for number, job in enumerate(sweep["jobs"]):
            self._jobs[f"{name}-{number}"] = job["id"]

    def _draft(self, name: str, filename: str, table: str) -> None:
        """A draft of the form that holds this table."""
        parts = {"file": (filename, table), "purpose": (None, "input")}
        file_id = self._call("POST", "/v1/files", files=parts)["id"]
        typed = {"input_file": file_id, "columns.custom_id": ":id", "reads": "chat"}
        typed |= {"template.text": "Summarise in one sentence: {{text}}", "clean.html": "on"}
        self._jobs[name] = FormDrafts(self._site.client).keep(self.tenant, typed).id

    def _upload(self, name: str, content: str, **job: Any) -> None:
        template = {"prompt": "{{question}}\nNotes: {{notes}}\nAnswer:"}
        job = {"model": "echo", "template": template, "metadata": {"name": "A table"}, **job}
        parts = {"file": ("table.csv", content.encode(), "text/csv")}
        options = {"job": (None, json.dumps(job), "application/json")}
        self._jobs[name] = self._call("POST", "/v1/jobs", files={**parts, **options})["id"]

    def _act(self, name: str, action: str) -> None:
        self._call("POST", f"/v1/jobs/{self._jobs[name]}/{action}")

    def _wait(self, job_id: str) -> None:
        def over() -> bool:
            job = self._call("GET", f"/v1/jobs/{job_id}?wait=10")
            return bool(job["finished_at"])

        wait_until(over)

    def _call(self, method: str, path: str, **options: Any) -> Any:
        headers = {"Authorization": f"Bearer {self._key}"}
        answer = requests.request(
            method,
            self._site.url + path,
            headers=headers,
            proxies=NO_PROXIES,
            timeout=30,
            **options,
        )
        assert answer.ok, answer.text
        return answer.json() if answer.content else None
