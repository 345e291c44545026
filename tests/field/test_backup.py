"""Backup and restore while web tier and workers go on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from cli.valkey import Valkey
from common.errors import Unauthorized
from common.store import keys
from common.store.api_keys import ApiKeys
from common.store.connection import connect
from common.store.fleet import Fleet
from common.store.jobs import JobStore
from common.store.sessions import Sessions
from tests.support.batches import BatchUser
from tests.support.cards import card
from tests.support.processes import ROOT
from tests.support.waiting import wait_until

ITEMS = 300


def promptmill(url: str, *command: str, code: int = 0) -> str:
    """What a command says; it must end with this exit code."""
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", *command],
        cwd=ROOT, env=os.environ | {"REDIS_URL": url}, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


class Api:
    def __init__(self, mill: BatchUser):
        self._url, self._key = f"http://127.0.0.1:{mill.port}", mill.api_keys.create_key("acme")

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False
            headers = {"Authorization": f"Bearer {self._key}"}
            return session.request(method, self._url + path, headers=headers, timeout=30, **options)

    def submit(self, name: str, items: int) -> str:
        body = {
            "items": [{"prompt": f"{name} {i}", "custom_id": f"{name}{i}"} for i in range(items)]
        }
        answer = self.call("POST", "/v1/jobs", json=body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        return dict(self.call("GET", f"/v1/jobs/{job_id}").json())

    def finished(self, job_id: str) -> int:
        return int(self.job(job_id)["counts"]["succeeded"])


@pytest.fixture
def mill(redis_url: str, tmp_path: Path) -> Iterator[BatchUser]:
    mill = BatchUser(redis_url, tmp_path)
    Fleet(mill.redis).publish(card(), b"")
    mill.web()
    yield mill
    mill.close()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[str]:
    """The URL of another, empty server."""
    server = Valkey(tmp_path / "other", durable=False)
    yield server.start()
    server.stop()


def test_a_restore_under_live_workers_goes_on_from_the_backup(
    mill: BatchUser, redis_url: str, tmp_path: Path
) -> None:
    api, file = Api(mill), tmp_path / "store.rdb"
    for _ in range(2):
        mill.worker(echo_delay=0.05, slots=4)
    kept = api.submit("kept", ITEMS)
    wait_until(lambda: api.finished(kept) > 20)
    before = api.finished(kept)
    promptmill(redis_url, "backup", str(file))
    assert file.stat().st_mode & 0o777 == 0o600
    wait_until(lambda: api.finished(kept) > before + 20)
    lost = api.submit("lost", ITEMS)
    wait_until(lambda: mill.redis.hlen(f"pm:job:{lost}:in") and api.finished(kept) < ITEMS)
    assert "--replace" in promptmill(redis_url, "restore", str(file), code=2)
    promptmill(redis_url, "restore", "--replace", str(file))
    assert api.call("GET", f"/v1/jobs/{lost}").status_code == 404
    assert before <= api.finished(kept)
    wait_until(lambda: api.job(kept)["status"] == "completed", limit=90)
    rows = api.call("GET", f"/v1/jobs/{kept}/items?limit=500").json()["data"]
    assert [row["custom_id"] for row in rows] == [f"kept{i}" for i in range(ITEMS)]
    assert all(
        row["status"] == "succeeded" and row["prompt"].split()[1] in row["outputs"][0]["text"]
        for row in rows
    )
    after = api.submit("after", 5)
    wait_until(lambda: api.job(after)["status"] == "completed")
    assert not mill.redis.keys("pm:held:*")


def test_what_was_acknowledged_before_a_backup_is_in_it(
    mill: BatchUser, redis_url: str, other: str, tmp_path: Path
) -> None:
    api, file = Api(mill), tmp_path / "store.rdb"
    jobs = [api.submit(f"job{i}", 70) for i in range(5)]
    mill.redis.set("someone:else", "x")
    promptmill(redis_url, "backup", str(file))
    api.submit("later", 1)
    promptmill(other, "restore", str(file))
    with connect(other) as client:
        found, _ = JobStore(client).jobs("acme", None, 20)
        assert [job.id for job in found] == jobs[::-1]
        store = JobStore(client)
        assert [item["custom_id"] for item in store.items(jobs[2], 60, 20)] == [
            f"job2{i}" for i in range(60, 70)
        ]
        assert client.keys("someone:*") == []
        names = {name for name in mill.redis.keys("pm:*") if b"worker" not in name}
        ttls = {name for name in names if mill.redis.ttl(name) > 0}
        assert {name for name in client.keys("pm:*") if client.ttl(name) > 0} == ttls & set(
            client.keys("pm:*")
        )


def test_a_session_of_the_time_of_the_backup_does_not_begin_again(
    redis_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "store.rdb"
    with connect(redis_url) as client:
        sessions = Sessions(client)
        ApiKeys(client).create_key("acme")
        cookie, link = (
            sessions.begin_session(sessions.create_login("acme")),
            sessions.create_login("acme"),
        )
        promptmill(redis_url, "backup", str(file))
        sessions.end_sessions("acme")
        promptmill(redis_url, "restore", "--replace", str(file))
        assert sessions.grant_of_cookie(cookie) is None
        with pytest.raises(Unauthorized):
            sessions.begin_session(link)


def test_while_a_restore_is_under_way_nothing_can_be_changed(
    mill: BatchUser, redis_url: str, tmp_path: Path
) -> None:
    api, file = Api(mill), tmp_path / "store.rdb"
    api.submit("a", 1)
    promptmill(redis_url, "backup", str(file))
    # As a restore that was killed leaves it.
    mill.redis.hset(keys.VERSION, mapping={"compatible": keys.RESTORING})
    refused = api.call("POST", "/v1/jobs", json={"prompts": ["x"]})
    assert (refused.status_code, refused.json()["code"]) == (503, "restoring")
    promptmill(redis_url, "restore", str(file))
    api.submit("b", 1)


@pytest.mark.parametrize("content", [b"", b"not a snapshot", b"REDIS0011 cut off"])
def test_a_file_that_is_no_backup_changes_nothing(
    redis_url: str, tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "bad.rdb"
    file.write_bytes(content)
    with connect(redis_url) as client:
        client.hset("pm:tenant:t", "created_at", 1)
        promptmill(redis_url, "restore", "--replace", str(file), code=2)
        assert client.keys("pm:*") == [b"pm:tenant:t"]


def test_a_backup_overwrites_no_file(redis_url: str, tmp_path: Path) -> None:
    file = tmp_path / "store.rdb"
    file.write_text("mine")
    promptmill(redis_url, "backup", str(file), code=2)
    assert file.read_text() == "mine"
