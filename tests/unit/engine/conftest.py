"""Fixtures of the engine's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from worker.engine.kernels.library import Library


@pytest.fixture(scope="session")
def library() -> Library:
    """The compiled kernels; a test that needs them is skipped where there are none."""
    from worker.engine.kernels.library import load

    found = load()
    if found is None:
        pytest.skip("there are no compiled kernels on this machine")
    return found
