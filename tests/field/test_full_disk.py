"""The disk of the data folder fills up: no traceback, what can be served is, and all goes on by
itself."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from cli.valkey import FULL_DISK, LOW_DISK, free_port
from tests.support.requirements import missing
from tests.support.up import Running, run
from tests.support.waiting import wait_until

SIZE = 3 * LOW_DISK


@pytest.fixture
def data_folder(tmp_path: Path) -> Iterator[Path]:
    """On a small file system of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        missing("the right to mount a small file system")
    try:
        yield disk / "data"
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def fill(folder: Path, leave: int) -> Path:
    """Take all of the folder's disk but so many bytes."""
    ballast = folder.parent / "ballast"
    free = os.statvfs(folder.parent).f_bavail * os.statvfs(folder.parent).f_bsize
    descriptor = os.open(ballast, os.O_WRONLY | os.O_CREAT)
    os.posix_fallocate(descriptor, 0, free - leave)
    os.close(descriptor)
    return ballast


class User:
    """Asks over HTTP, and sees the statuses."""

    def __init__(self, server: dict[str, str]):
        self._url = f"{server['url']}/v1/jobs"
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["Authorization"] = f"Bearer {server['api_key']}"

    def submit(self) -> requests.Response:
        job: Any = {"prompts": ["a b c"], "params": {"max_tokens": 4}}
        return self._session.post(self._url, json=job, timeout=30)

    def status(self, method: str, job_id: str, path: str = "") -> int:
        return self._session.request(method, f"{self._url}/{job_id}{path}", timeout=30).status_code

    def finished_job(self) -> str:
        job_id = str(self.submit().json()["id"])
        wait_until(
            lambda: (
                self._session.get(f"{self._url}/{job_id}", timeout=30).json()["status"]
                == "completed"
            )
        )
        return job_id


@pytest.fixture
def running(up: Callable[..., Running]) -> Running:
    return up(
        "--engine", "echo", "--model", "echo", "--workers", "1", "--port", str(free_port())
    ).wait_until_ready()


def test_on_a_disk_that_is_nearly_full_no_new_work_is_taken_and_deletes_are(
    running: Running, data_folder: Path
) -> None:
    user = User(running.server())
    job = user.finished_job()
    ballast = fill(data_folder, (LOW_DISK + FULL_DISK) // 2)
    wait_until(lambda: "takes no new work" in running.said)
    wait_until(lambda: user.submit().status_code == 503)
    assert user.status("GET", job, "/results.jsonl") == 200
    assert user.status("DELETE", job) == 204
    ballast.unlink()
    wait_until(lambda: user.submit().status_code == 202)


def test_on_a_full_disk_results_can_be_read_and_the_rest_goes_on_once_there_is_room(
    running: Running, data_folder: Path
) -> None:
    user = User(running.server())
    job = user.finished_job()
    ballast = fill(data_folder, 0)
    wait_until(lambda: "takes reads only" in running.said)
    wait_until(lambda: user.submit().status_code == 503)
    assert user.status("GET", job) == user.status("GET", job, "/results.jsonl") == 200
    assert user.status("DELETE", job) == 503
    ballast.unlink()
    wait_until(lambda: user.submit().status_code == 202)
    assert user.status("DELETE", user.finished_job()) == 204
    fill(data_folder, 0)
    assert running.stop() == 0
    assert "Traceback" not in running.said


def test_up_says_in_a_sentence_that_it_has_no_room_to_start(data_folder: Path) -> None:
    data_folder.mkdir()
    fill(data_folder, FULL_DISK // 2)
    ended = run("up", "--data", data_folder, "--engine", "echo", "--port", str(free_port()))
    assert ended.returncode == 2
    where = data_folder / "redis"
    assert ended.stderr == (
        f"promptmill: the disk of {where} has 2 MB free; free some, for the server must write "
        "there\n"
    )
