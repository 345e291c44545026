"""Users that submit all the time."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Any

import requests

from tests.support.waiting import wait_until


class Users:
    """Threads that submit one short job after another; they remember what was promised to them, and
    every status."""

    def __init__(self, server: dict[str, str], webhook: dict[str, Any], count: int = 4):
        self.statuses: Counter[int] = Counter()
        self.jobs: list[str] = []
        self._url = f"{server['url']}/v1/jobs"
        self._headers = {"Authorization": f"Bearer {server['api_key']}"}
        params = {"max_tokens": 4}
        self._job: Any = {"prompts": ["a b c"], "params": params, "webhook": webhook}
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._submit, daemon=True) for _ in range(count)]

    def __enter__(self) -> Users:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(15)

    def submit_more_than(self, jobs: int) -> None:
        """Wait until so many more were promised."""
        before = len(self.jobs)
        wait_until(lambda: len(self.jobs) > before + jobs)

    def _submit(self) -> None:
        with requests.Session() as session:
            session.trust_env = False
            while not self._stop.is_set():
                answer = session.post(self._url, headers=self._headers, json=self._job, timeout=15)
                self.statuses[answer.status_code] += 1
                if answer.status_code == 202:
                    self.jobs.append(answer.json()["id"])
                time.sleep(0.01)
