"""A JobStore on a real server, and short ways to make jobs and workers in it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.store import Mill


@pytest.fixture
def mill(redis_url: str) -> Mill:
    return Mill(redis_url)


@pytest.fixture
def key_snapshot(mill: Mill) -> Callable[[], set[str]]:
    """All keys but the places that what is deleted leaves in its list for a day."""
    places = (b"pm:gone:", b"pm:left:")
    return lambda: {
        name.decode() for name in mill.client.keys("pm:*") if not name.startswith(places)
    }
