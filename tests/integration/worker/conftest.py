"""Real Celery workers with the echo engine on a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.workers import Queue, Workers


@pytest.fixture
def workers(redis_url: str, tmp_path: Path) -> Iterator[Workers]:
    started = Workers(redis_url, tmp_path)
    yield started
    started.stop_all()


@pytest.fixture
def queue(redis_url: str) -> Queue:
    return Queue(redis_url)
