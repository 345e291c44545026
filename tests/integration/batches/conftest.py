"""The OpenAI client against parts as they are deployed, with the echo engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support.batches import BatchUser


@pytest.fixture
def make_mill(redis_url: str, tmp_path: Path) -> Iterator[Callable[[], BatchUser]]:
    made: list[BatchUser] = []

    def make() -> BatchUser:
        made.append(BatchUser(redis_url, tmp_path))
        return made[-1]

    yield make
    for mill in made:
        mill.close()


@pytest.fixture(scope="module")
def running(valkey: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BatchUser]:
    """One web process and one worker for all of a module's tests."""
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    mill = BatchUser(valkey.url, tmp_path_factory.mktemp("mill"))
    mill.web(echo_delay=0)
    mill.worker()
    yield mill
    mill.close()
