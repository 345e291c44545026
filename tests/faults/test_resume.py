"""A real model whose worker is killed says what it would have said."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.resume import compare


@pytest.mark.timeout(400)  # seconds: two workers load a model, beside whatever else runs
def test_a_kill_in_mid_generation_changes_no_text(demo_model: Path) -> None:
    figures = compare(kills=1, seed=5)
    assert (figures["kills"], figures["differing"]) == (1, 0)
