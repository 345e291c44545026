"""`promptmill demo --once`: a sample batch from submit to verified webhook. test_wheel.py runs it
with its model."""

from __future__ import annotations

import subprocess
from pathlib import Path

from cli.demo import BATCH
from cli.valkey import free_port
from tests.support.up import run

ECHO = ("--engine", "echo", "--model", "echo")


def demo(folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return run("demo", "--once", "--data", folder, "--port", str(free_port()), *ECHO, env=env)


def test_the_batch_has_twelve_prompts_and_three_decoding_settings() -> None:
    assert len(BATCH) >= 12
    assert len({tuple(params.items()) for params, _ in BATCH}) == 3


def test_it_shows_every_answer_the_verified_webhook_and_how_to_go_on(data_folder: Path) -> None:
    done = demo(data_folder)
    assert done.returncode == 0, done.stdout + done.stderr
    for _, prompt in BATCH:
        assert prompt in done.stdout
    assert "completed: 12 succeeded" in done.stdout
    assert "signature verified: job.finished" in done.stdout
    assert "/login?token=" in done.stdout
    assert "curl http" in done.stdout


def test_it_fails_when_an_item_fails(data_folder: Path) -> None:
    done = demo(data_folder, PROMPTMILL_ECHO_FAIL_ON="autumn")
    assert done.returncode == 1
    assert "11 succeeded, 1 failed" in done.stdout
