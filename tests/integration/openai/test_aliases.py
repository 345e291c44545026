"""Models under other names: for clients that hard-code theirs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import requests

from cli.valkey import free_port
from tests.support.processes import ROOT
from tests.support.stack import Stack

ALIASES = "gpt-4o-mini=echo,gpt-9=nobody"


@pytest.fixture(scope="module")
def stack(empty_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    started = Stack(
        empty_url, tmp_path_factory.mktemp("aliases"), worker_wait=1, model_aliases=ALIASES
    )
    try:
        started.workers.start(model_aliases=ALIASES)
        yield started
    finally:
        started.close()


def test_a_chat_under_an_alias_runs_and_is_answered_under_it(stack: Stack) -> None:
    asked: dict[str, Any] = {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": "one two"}],
        "temperature": 0,
    }
    found = stack.client.chat.completions.create(**asked)
    assert (found.model, found.choices[0].message.content) == ("gpt-4o-mini", "one two")
    chunks = list(stack.client.chat.completions.create(**asked, stream=True))
    assert {chunk.model for chunk in chunks} == {"gpt-4o-mini"}
    assert stack.client.completions.create(model="gpt-4o-mini", prompt="a").model == "gpt-4o-mini"


def test_models_and_their_aliases_are_listed_and_found(stack: Stack) -> None:
    assert [model.id for model in stack.client.models.list()] == ["echo", "gpt-4o-mini"]
    found = stack.client.models.retrieve("gpt-4o-mini")
    assert found.id == "gpt-4o-mini" and found.to_dict()["alias_of"] == "echo"
    assert stack.client.models.retrieve("echo").to_dict()["alias_of"] is None


def test_an_alias_of_a_model_that_nobody_served_is_not_found(stack: Stack) -> None:
    with pytest.raises(openai.NotFoundError, match="'nobody'"):
        stack.client.models.retrieve("gpt-9")


def test_a_native_job_under_an_alias_is_the_model_s(stack: Stack) -> None:
    with requests.Session() as session:
        session.trust_env = False
        headers = {"Authorization": f"Bearer {stack.key}"}
        body = {"model": "gpt-4o-mini", "prompts": ["a"]}
        answer = session.post(
            f"http://127.0.0.1:{stack.port}/v1/jobs", json=body, headers=headers, timeout=10
        )
    assert answer.status_code == 202 and answer.json()["model"] == "echo"


def refused(url: str, *command: str, **settings: str) -> str:
    """What a part says that does not start."""
    env = os.environ | {"REDIS_URL": url, "PROMPTMILL_PORT": str(free_port())}
    env |= {f"PROMPTMILL_{name.upper()}": value for name, value in settings.items()}
    ended = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=Path(ROOT),
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2, ended.stderr
    return ended.stderr


def test_an_alias_of_a_served_name_is_refused_at_start(stack: Stack, empty_url: str) -> None:
    assert "echo is the name of a model" in refused(
        empty_url, "web.serve", model_aliases="echo=other"
    )
    worker = ("celery", "-q", "-A", "worker.app", "worker")
    said = refused(empty_url, *worker, model="echo", model_aliases="echo=other")
    assert "echo is this worker's own model" in said
