"""Chains of jobs made of each other's rows: whatever dies between their stages, no row is lost and
none is doubled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from common.store import keys
from tests.support.deployment import Deployment
from tests.support.valkey import OwnServer
from tests.support.waiting import wait_until

ROWS = 2000
TRIES = 5  # to do something while rows are being read
ENDED = ("completed", "cancelled", "expired")


class Chain(Deployment):
    """A user of the native API, and the parts that serve one."""

    def __init__(self, url: str, folder: Path):
        super().__init__(url, folder)
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy between here and loopback
        self._session.headers["Authorization"] = f"Bearer {self.key}"

    def post(self, path: str, **body: Any) -> Any:
        answer = self._session.post(self._url(path), json=body, timeout=30)
        assert answer.status_code == 202, answer.text
        return answer.json()

    def get(self, path: str) -> Any:
        answer = self._session.get(self._url(path), timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def close(self) -> None:
        self._session.close()
        super().close()

    def derive(self, source: str, word: str) -> str:
        """A job that puts a word before each output of another, which the engine repeats."""
        made = self.post(
            "/v1/jobs",
            input_from={"jobs": [source]},
            template={"prompt": f"{word} {{{{output}}}}"},
            params={"temperature": 0, "max_tokens": 20},
        )
        return str(made["id"])

    def wait_until_claimed(self, job_id: str) -> None:
        """A process makes its items at this moment."""
        wait_until(lambda: self.redis.hget(keys.job(job_id), "claim"))

    def wait_until_some_ran(self, job_id: str) -> None:
        wait_until(lambda: self.store.job(job_id).succeeded > 0)

    def wait_until_over(self, job_id: str) -> None:
        wait_until(lambda: self.store.job(job_id).status in ENDED, limit=120)

    def texts(self, job_id: str) -> list[str]:
        self.wait_until_over(job_id)
        total = self.store.job(job_id).total
        rows = self.store.rows(job_id, 0, total)
        assert len(self.store.finished_after(job_id, 0, 2 * total)) == total
        return [row["outputs"][0]["text"] for row in rows]


@pytest.fixture
def chain(own_server: OwnServer, tmp_path: Path) -> Iterator[Chain]:
    own_server.start()
    made = Chain(own_server.url, tmp_path)
    yield made
    made.close()


def test_a_chain_of_three_survives_the_death_of_each_part_between_its_stages(
    chain: Chain, own_server: OwnServer
) -> None:
    web = chain.web()
    worker = chain.worker(slots=64)
    first = chain.post("/v1/jobs", prompts=[f"row{i}" for i in range(ROWS)])["id"]
    second = chain.derive(first, "second")
    third = chain.derive(second, "third")
    chain.wait_until_claimed(second)
    chain.kill(web)
    assert chain.store.job(second).waiting, "it died in the middle of making the second job"
    web = chain.web()
    chain.wait_until_some_ran(second)
    chain.kill(worker)
    chain.worker(slots=64)
    chain.wait_until_claimed(third)
    own_server.kill()
    own_server.start()
    wait_until(chain.redis.ping)
    chain.kill(web)
    chain.web()
    assert chain.texts(third) == [f"third second row{i}" for i in range(ROWS)]
    assert chain.texts(second) == [f"second row{i}" for i in range(ROWS)]
    assert [job["id"] for job in chain.get("/v1/jobs")["data"]] == [third, second, first]


def test_a_source_that_is_deleted_while_its_rows_are_read_ends_the_job(chain: Chain) -> None:
    chain.web()
    chain.worker(slots=64)
    for _ in range(TRIES):
        source = chain.post("/v1/jobs", prompts=[f"row{i}" for i in range(ROWS)])["id"]
        made = chain.derive(source, "second")
        behind = chain.derive(made, "third")
        chain.wait_until_claimed(made)
        chain.store.delete(source)
        chain.wait_until_over(behind)
        if not chain.store.job(made).total:  # else its rows had all been read by then
            break
    for job_id, why in ((made, "source_deleted"), (behind, "source_empty")):
        assert chain.get(f"/v1/jobs/{job_id}")["cancelled_by"] == why
    assert chain.redis.keys("pm:derived:*") == []
