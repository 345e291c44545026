"""`promptmill up`: one command starts it all, nothing of it outlives it, and no kill loses a
job."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from cli.client import Client
from cli.up import usable_cores
from cli.valkey import free_port
from tests.support.processes import spawn
from tests.support.up import COMMAND, LIMIT, Running, alive, run
from tests.support.waiting import wait_until

# 40 items of 10 tokens: five seconds.
SLOW = {"PROMPTMILL_ECHO_DELAY": "0.05", "PROMPTMILL_SLOTS": "4"}
TOKENS = 10
ITEMS = 40


@pytest.fixture
def up(data_folder: Path) -> Iterator[Any]:
    """Starts `up` on the test's data folder; whatever still runs at the end is ended."""
    started: list[Running] = []

    def start(*arguments: str, **options: Any) -> Running:
        started.append(Running(data_folder, *arguments, **options))
        return started[-1]

    with ExitStack() as stops:
        yield start
        for running in started:
            stops.callback(running.stop)


def submit_slow_job(client: Client) -> str:
    prompts = [f"item {n} says a few words of its own" for n in range(ITEMS)]
    params = {"max_tokens": TOKENS, "ignore_eos": True, "temperature": 0}
    return str(client.submit({"prompts": prompts, "params": params})["id"])


def succeeded(client: Client, job_id: str) -> int:
    return int(client.job(job_id)["counts"]["succeeded"])


def finished(client: Client, job_id: str) -> dict[int, dict[str, Any]]:
    return {item["index"]: item for item in client.items(job_id) if item["status"] == "succeeded"}


def watch_to_the_end(client: Client, job_id: str) -> dict[str, Any]:
    *_, job = client.watch(job_id)
    return job


def part(running: Running, name: str) -> psutil.Process:
    return next(p for p in running.processes() if p.cmdline()[-1] == name or name in p.cmdline())


def test_after_a_kill_of_everything_the_job_goes_on_and_finished_results_are_untouched(
    up: Any,
) -> None:
    first = up(**SLOW).wait_until_ready()
    client = first.client()
    job_id = submit_slow_job(client)
    wait_until(lambda: succeeded(client, job_id) >= 8)
    before = finished(client, job_id)
    assert len(before) < ITEMS  # it is in the middle
    first.kill_everything()

    second = up(**SLOW).wait_until_ready()
    client = second.client()
    after = finished(client, job_id)
    assert {index: after[index] for index in before} == before
    job = watch_to_the_end(client, job_id)
    assert job["counts"]["succeeded"] == job["counts"]["total"] == ITEMS
    final = finished(client, job_id)
    assert {index: final[index] for index in before} == before
    assert sorted(final) == list(range(ITEMS))


def test_nothing_outlives_a_killed_up(up: Any) -> None:
    running = up().wait_until_ready()
    processes = running.processes()
    web = min(2, usable_cores())  # processes that answer
    assert len(part(running, "serve").children()) == web
    assert len(processes) >= 6 + web  # up, server, web and its workers, webhooks, evaluator, worker
    running.process.kill()
    wait_until(lambda: not any(alive(process) for process in processes), limit=15)


def test_ctrl_c_ends_everything_and_its_data_are_kept(up: Any) -> None:
    running = up().wait_until_ready()
    client = running.client()
    job_id = submit_slow_job(client)
    watch_to_the_end(client, job_id)
    processes = running.processes()
    assert running.stop() == 0
    assert not any(alive(process) for process in processes)

    again = up().wait_until_ready()
    assert succeeded(again.client(), job_id) == ITEMS


def test_a_killed_worker_is_started_again_and_the_job_completes(up: Any) -> None:
    running = up(**SLOW).wait_until_ready()
    client = running.client()
    job_id = submit_slow_job(client)
    wait_until(lambda: succeeded(client, job_id) >= 4)
    part(running, "worker").kill()
    assert watch_to_the_end(client, job_id)["counts"]["succeeded"] == ITEMS
    assert "worker ended with exit code -9" in running.said


def test_a_killed_embedded_server_is_started_again_and_the_job_completes(up: Any) -> None:
    running = up(**SLOW).wait_until_ready()
    client = running.client()
    job_id = submit_slow_job(client)
    wait_until(lambda: succeeded(client, job_id) >= 4)
    next(p for p in running.processes() if "server" in p.name()).kill()
    wait_until(lambda: "was started again" in running.said)
    assert watch_to_the_end(client, job_id)["counts"]["succeeded"] == ITEMS


def test_two_workers_share_a_job(up: Any) -> None:
    running = up(
        "--engine", "echo", "--model", "echo", "--port", str(free_port()), "--workers", "2", **SLOW
    )
    client = running.wait_until_ready().client()
    job_id = submit_slow_job(client)
    assert watch_to_the_end(client, job_id)["counts"]["succeeded"] == ITEMS
    assert len({item["worker"] for item in client.items(job_id)}) == 2


def test_a_folder_in_use_is_refused_with_the_running_url(up: Any, data_folder: Path) -> None:
    running = up().wait_until_ready()
    second = run("up", "--data", data_folder, "--engine", "echo", "--model", "echo")
    assert second.returncode == 2
    assert running.url in second.stderr


def test_a_port_that_was_asked_for_and_is_taken_is_refused(data_folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = run(
            "up", "--data", data_folder, "--engine", "echo", "--model", "echo", "--port", str(port)
        )
    assert refused.returncode == 2
    assert f"port {port}" in refused.stderr


def test_without_a_port_the_next_free_one_is_taken_and_told(up: Any) -> None:
    try:
        taken = socket.create_server(("127.0.0.1", 8000))
    except OSError:  # somebody else has it, which is as good
        taken = None
    try:
        running = up("--engine", "echo", "--model", "echo").wait_until_ready()
    finally:
        if taken:
            taken.close()
    assert "Port 8000 is taken" in running.said
    assert not running.url.endswith(":8000")


def in_the_background(command: list[Any], **options: Any) -> subprocess.Popen[Any]:
    """As a shell starts what ends in `&`: it ignores Ctrl-C, and so does all that it starts."""
    return subprocess.Popen(["sh", "-c", 'trap "" INT; exec "$@"', "sh", *command], **options)


@pytest.mark.parametrize("start", [spawn, in_the_background])
def test_sigterm_ends_it_like_ctrl_c(up: Any, start: Any) -> None:
    running = up(start=start).wait_until_ready()
    processes = running.processes()
    os.kill(running.process.pid, signal.SIGTERM)
    assert running.process.wait(60) == 0
    assert not any(alive(process) for process in processes)


def test_a_model_that_cannot_be_opened_ends_up_with_the_reason(up: Any, tmp_path: Path) -> None:
    running = up("--model", str(tmp_path), "--port", str(free_port()))
    assert running.process.wait(60) == 2
    wait_until(lambda: "config.json" in running.said)


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
def test_on_ipv6_every_address_has_brackets_and_works(up: Any) -> None:
    running = up(PROMPTMILL_HOST="[::1]").wait_until_ready()
    url = running.server()["url"]
    assert url.startswith("http://[::1]:")
    assert f"curl {url}/v1/jobs" in running.said
    (link,) = [line.split()[-1] for line in running.lines if "/login?token=" in line]
    with requests.Session() as session:
        session.trust_env = False
        token = {"token": link.rpartition("=")[2]}
        page = session.post(f"{url}/login", data=token, headers={"Origin": url}, timeout=10)
        assert (page.status_code, page.url) == (200, f"{url}/")
    client = running.client()
    job = client.submit({"prompts": ["a b"]})
    assert job["links"]["self"].startswith(f"{url}/")
    assert watch_to_the_end(client, job["id"])["counts"]["succeeded"] == 1


def test_a_public_url_that_is_nonsense_ends_every_part_at_its_start() -> None:
    for part in ("up", "serve", "worker"):
        ended = run(part, env={"PROMPTMILL_PUBLIC_URL": "queue.example.org"})
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr.startswith(
            "promptmill: PROMPTMILL_PUBLIC_URL='queue.example.org': must begin with http"
        )


def test_a_public_url_that_hides_a_page_ends_the_web_tier_at_its_start() -> None:
    env = {"PROMPTMILL_PUBLIC_URL": "https://example.org/jobs", "PROMPTMILL_PORT": str(free_port())}
    ended = run("serve", env=env)
    assert ended.returncode == 2
    assert "its path must not begin with /jobs" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_worker_joins_by_the_data_folder_alone(up: Any, tmp_path: Path) -> None:
    first = up(PROMPTMILL_SERVED_NAME="mine").wait_until_ready()
    assert first.said.index("Loading mine …") < first.said.index("Ready: mine is loaded.")
    worker = spawn([*COMMAND, "worker", "--data", first.folder], cwd=tmp_path)
    try:
        client = first.client()
        wait_until(lambda: [model["workers"] for model in client.models()] == [2])
    finally:
        worker.terminate()
        worker.wait(LIMIT)


def test_a_data_folder_without_a_server_is_named(tmp_path: Path) -> None:
    done = run("worker", "--data", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"{tmp_path} has no server; `promptmill up --data" in done.stderr
