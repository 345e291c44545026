"""The official client against the web tier as it is deployed, with real workers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from openai import OpenAI

from tests.support.stack import DELAY, Stack


@pytest.fixture(scope="module")
def stack(empty_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    started = Stack(empty_url, tmp_path_factory.mktemp("stack"), worker_wait=1, max_queued_items=50)
    try:
        started.workers.start(echo_delay=DELAY, echo_fail_on="qqq", lease=3)
        yield started
    finally:
        started.close()


@pytest.fixture(scope="module")
def client(stack: Stack) -> OpenAI:
    return stack.client
