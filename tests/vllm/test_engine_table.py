"""What docs/api.md says that engine vllm has is what the engine says."""

from __future__ import annotations

from tests.support.engine_table import expected, written
from worker.engine.vllm.library import vllm_version


def test_the_column_of_vllm_says_what_the_engine_says() -> None:
    vllm_version()  # prepares the import
    from worker.engine.vllm.engine import VllmEngine

    assert list(written()["vllm"].items()) == list(expected("vllm", VllmEngine.honours).items())
