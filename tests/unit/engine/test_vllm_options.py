"""How vLLM is to run a model, as a message says it."""

from __future__ import annotations

import pytest

from worker.engine.vllm.options import VllmOptions


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (VllmOptions(), ""),
        (VllmOptions(1, 2), "PROMPTMILL_PIPELINE_PARALLEL=2"),
        (
            VllmOptions(4, 1, "awq", 0.5, {"enforce_eager": True}),
            (
                "PROMPTMILL_TENSOR_PARALLEL=4, PROMPTMILL_QUANTIZATION=awq, "
                'PROMPTMILL_GPU_MEMORY=0.5, PROMPTMILL_VLLM_ARGS={"enforce_eager": true}'
            ),
        ),
    ],
)
def test_settings_that_were_given_are_named(options: VllmOptions, said: str) -> None:
    assert str(options) == said
