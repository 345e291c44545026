"""Whole stacks for cases that users met: one with a small random model, and those a test starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import openai
import pytest

from cli.client import Client
from cli.valkey import free_port
from tests.support.byte_models import build_byte_model
from tests.support.receiver import Receiver
from tests.support.up import Running


@pytest.fixture(scope="session")
def byte_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama that reads and writes bytes, one a token."""
    return build_byte_model(tmp_path_factory.mktemp("models") / "bytes")


@pytest.fixture(scope="session")
def stack(byte_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    arguments = ("--model", str(byte_model), "--port", str(free_port()))
    running = Running(tmp_path_factory.mktemp("field"), *arguments, PROMPTMILL_DTYPE="float32")
    try:
        yield running.wait_until_ready()
    finally:
        running.stop()


@pytest.fixture
def client(stack: Running) -> Client:
    return stack.client()


@pytest.fixture
def openai_client(stack: Running) -> Iterator[openai.OpenAI]:
    server = stack.server()
    direct = openai.DefaultHttpx2Client(trust_env=False)  # past the proxies of the environment
    url, key = f"{server['url']}/v1", server["api_key"]
    with openai.OpenAI(
        base_url=url, api_key=key, max_retries=0, timeout=60, http_client=direct
    ) as client:
        yield client


@pytest.fixture
def up(data_folder: Path) -> Iterator[Callable[..., Running]]:
    """Starts `up` on the test's data folder; whatever still runs at the end is ended."""
    started: list[Running] = []

    def start(*arguments: str, **env: Any) -> Running:
        started.append(Running(data_folder, *arguments, **env))
        return started[-1]

    with ExitStack() as stops:
        yield start
        for running in started:
            stops.callback(running.stop)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()
