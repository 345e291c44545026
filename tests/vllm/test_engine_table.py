"""What docs/api.md says that engine vllm has is what the engine says."""

from __future__ import annotations

from tests.support.engine_table import expected, resumes_seeded_rows, written
from worker.engine.vllm.library import vllm_version
from worker.model_features import OF_ENGINE


def test_the_column_of_vllm_says_what_the_engine_says() -> None:
    vllm_version()  # prepares the import
    from worker.engine.vllm.engine import VllmEngine

    assert list(written()["vllm"].items()) == list(expected("vllm", VllmEngine).items())
    assert not resumes_seeded_rows(VllmEngine) and "seeded_resume" not in OF_ENGINE["vllm"]
