"""The OpenAI client against web processes, workers and a webhook worker as they are deployed, with
the echo engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support.mill import Mill


@pytest.fixture
def make_mill(redis_url: str, tmp_path: Path) -> Iterator[Callable[[], Mill]]:
    made: list[Mill] = []

    def make() -> Mill:
        made.append(Mill(redis_url, tmp_path))
        return made[-1]

    yield make
    for mill in made:
        mill.close()


@pytest.fixture(scope="module")
def running(valkey: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mill]:
    """One web process and one worker for all of a module's tests."""
    with redis.Redis.from_url(valkey.url) as client:
        client.flushall()
    mill = Mill(valkey.url, tmp_path_factory.mktemp("mill"))
    mill.web(echo_delay=0)
    mill.worker()
    yield mill
    mill.close()
