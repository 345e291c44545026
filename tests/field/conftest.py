"""Whole stacks for the cases that users met: one with a small real model of random weights, and any
a test starts."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import openai
import pytest
import requests
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from cli.client import Client
from cli.valkey import free_port
from tests.e2e.running import Running
from tests.integration.webhooks.conftest import Receiver
from tests.unit.engine.tiny import build

CONTEXT = 2560  # tokens: more than two steps of the engine on a CPU
END = "<|end|>"
TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"


@pytest.fixture(scope="session")
def byte_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama that reads and writes bytes, one a token."""
    folder = tmp_path_factory.mktemp("models") / "bytes"
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({letter: id for id, letter in enumerate(letters)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(END, special=True)])
    ids = {"bos_token_id": 256, "eos_token_id": 256, "pad_token_id": 256}
    build("llama", vocab_size=257, max_position_embeddings=CONTEXT, **ids).save_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=END)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder


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

    def start(*arguments: str, **env: str) -> Running:
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


class Users:
    """Threads that submit one short job after another; they remember what was promised to them, and
    every status."""

    def __init__(self, server: dict[str, str], webhook: dict[str, Any], count: int = 4):
        self.statuses: Counter[int] = Counter()
        self.jobs: list[str] = []
        self._url = f"{server['url']}/v1/jobs"
        self._headers = {"Authorization": f"Bearer {server['api_key']}"}
        self._job = {"prompts": ["a b c"], "params": {"max_tokens": 4}, "webhook": webhook}
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

    def _submit(self) -> None:
        with requests.Session() as session:
            session.trust_env = False
            while not self._stop.is_set():
                answer = session.post(self._url, headers=self._headers, json=self._job, timeout=15)
                self.statuses[answer.status_code] += 1
                if answer.status_code == 202:
                    self.jobs.append(answer.json()["id"])
                time.sleep(0.01)
