"""What a user does, over HTTP only: submit, poll, follow, cancel. Everything seen goes into the
ledger.

503 and broken connections are what a user meets while processes die: the call is made again.
Anything else that the API does not promise is noted as unexpected.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import requests

from bench.lib.ledger import Ledger, Order
from bench.lib.receiver import SECRET

TIMEOUT = (2.0, 10.0)  # seconds to connect, and between two bytes
PAUSE = 0.1  # seconds before a call is made again
LIMIT = 120.0  # seconds for which a call is made again and again


class Away(Exception):
    """The web tier cannot be reached, or says that it cannot serve now."""


class RetryingClient:
    """One user's calls. A session each for every thread, none of which knows of a proxy."""

    def __init__(self, port: int, key: str, ledger: Ledger):
        self._url = f"http://127.0.0.1:{port}"
        self._key = key
        self._ledger = ledger
        self._own = threading.local()

    @property
    def _session(self) -> requests.Session:
        if not hasattr(self._own, "session"):
            session = requests.Session()
            session.trust_env = False
            session.headers["Authorization"] = f"Bearer {self._key}"
            self._own.session = session
        found: requests.Session = self._own.session
        return found

    def call(
        self, method: str, path: str, expected: int = 200, **options: Any
    ) -> requests.Response:
        """One try.

        Raises:
            Away: nobody answers, or the answer is 503.
        """
        try:
            answer = self._session.request(method, self._url + path, timeout=TIMEOUT, **options)
        except requests.RequestException as error:
            raise Away(str(error)) from error
        if answer.status_code == 503:
            if "Retry-After" not in answer.headers:
                self._ledger.note("unexpected", f"{method} {path}: 503 without Retry-After")
            raise Away(answer.text)
        if answer.status_code != expected:
            self._ledger.note(
                "unexpected", f"{method} {path}: {answer.status_code} {answer.text[:300]}"
            )
            raise Away(answer.text)
        return answer

    def insist(
        self, method: str, path: str, expected: int = 200, **options: Any
    ) -> requests.Response:
        """Try until it is answered, as long as anybody may be asked to."""
        end = time.monotonic() + LIMIT
        while True:
            try:
                return self.call(method, path, expected, **options)
            except Away:
                if time.monotonic() > end:
                    raise
                time.sleep(PAUSE)

    # What users do

    def submit(self, order: Order, receiver: str) -> None:
        """Send the job, under its name as idempotency key, until a 202 comes."""
        webhook = {"url": f"http://{receiver}/{order.name}", "secret": SECRET}
        headers = {"Idempotency-Key": order.name}
        answer = self.insist(
            "POST", "/v1/jobs", 202, json=order.body(webhook), headers=headers
        ).json()
        order.job_id = answer["id"]
        self._ledger.accepted(order)

    def poll(self, order: Order) -> None:
        """Look at the job and at all its results."""
        known = set(order.rows)
        view = self.call("GET", f"/v1/jobs/{order.job_id}").json()
        self._ledger.saw_job(order, view)
        file = self.call("GET", f"/v1/jobs/{order.job_id}/results.jsonl?params=full").content
        rows = [json.loads(line) for line in file.splitlines()]
        self._ledger.saw_results(order, rows, known)

    def follow(self, order: Order, going: Callable[[], bool]) -> None:
        """Read the job's events to their end, going on behind the last one whenever the stream
        breaks."""
        last = 0
        while going():
            try:
                for kind, number, data in self._events(order, last):
                    if kind == "item.finished" and number is not None:
                        self._ledger.saw_event(order, number, data, after=last)
                        last = number
                    elif kind == "job.finished":
                        self._ledger.saw_finish(order, data)
                        return
            except (Away, requests.RequestException):
                time.sleep(PAUSE)

    def _events(self, order: Order, last: int) -> Iterator[tuple[str, int | None, Any]]:
        """(kind, id, data) of each whole event; one that broke off in the middle is none."""
        headers = {"Last-Event-ID": str(last)}
        with self.call(
            "GET", f"/v1/jobs/{order.job_id}/events", stream=True, headers=headers
        ) as answer:
            fields: dict[str, str] = {}
            for raw in answer.iter_lines():
                name, _, value = raw.decode().partition(": ")
                if name:
                    fields[name] = value
                elif "event" in fields:
                    number = int(fields["id"]) if "id" in fields else None
                    yield fields["event"], number, json.loads(fields["data"])
                    fields = {}

    def cancel(self, order: Order) -> None:
        order.cancelled = True
        self.insist("POST", f"/v1/jobs/{order.job_id}/cancel", 202)

    def running(self, order: Order) -> int:
        """Items of the job that hold slots now."""
        return int(self.insist("GET", f"/v1/jobs/{order.job_id}").json()["counts"]["running"])

    def evaluations(self, order: Order) -> list[dict[str, Any]]:
        """Of the job, the newest first."""
        path = f"/v1/jobs/{order.job_id}/evaluations"
        found: list[dict[str, Any]] = self.insist("GET", path).json()["data"]
        return found

    def jobs(self) -> list[str]:
        """Ids of all jobs, page by page."""
        found: list[str] = []
        after: str | None = None
        while True:
            query = {"limit": "100"} | ({"after": after} if after else {})
            page = self.insist("GET", "/v1/jobs", params=query).json()
            found += [job["id"] for job in page["data"]]
            after = page["after"]
            if not page["has_more"]:
                return found
