"""What vLLM cannot run as asked is refused when the model is opened, with what to do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from common.errors import ConfigError
from tests.vllm.running import opened
from worker.engine.vllm.options import VllmOptions
from worker.model_parts import ModelParts
from worker.models import open_model
from worker.vllm_model import _digest

pytestmark = pytest.mark.timeout(400)  # importing vLLM takes its time


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy, which a test may spoil."""
    return Path(shutil.copytree(tiny_model, tmp_path / "tiny-llama"))


def refused(folder: Path, options: VllmOptions | None = None, **more: Any) -> str:
    with pytest.raises(ConfigError) as found:
        open_model(str(folder), engine="vllm", vllm=options, **{"dtype": "float32"} | more)
    return found.value.message


def changed(folder: Path, **fields: Any) -> Path:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))
    return folder


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_another_device_than_that_of_this_vllm(folder: Path, device: str) -> None:
    said = refused(folder, device=device)
    assert said.startswith(f"PROMPTMILL_DEVICE={device}, but this vLLM computes on cpu")


def test_a_context_beyond_the_models(folder: Path) -> None:
    assert "PROMPTMILL_CONTEXT is 513" in refused(folder, context=513)


def test_arguments_that_do_not_go_with_the_model(folder: Path) -> None:
    for args in ({"max_num_batched_tokens": 64}, {"enable_expert_parallel": True}):
        said = refused(folder, VllmOptions(args=args))
        given = f"PROMPTMILL_VLLM_ARGS={json.dumps(args)}"
        assert said.startswith(f"vLLM cannot run the model in {folder} with {given}: "), said
        assert "\n" not in said


@pytest.mark.parametrize("kind", ["awq", "fp8"])
def test_a_quantisation_that_the_checkpoint_does_not_have(folder: Path, kind: str) -> None:
    said = refused(folder, VllmOptions(quantization=kind))
    given = f"PROMPTMILL_QUANTIZATION={kind}"
    assert said.startswith(f"vLLM cannot run the model in {folder} with {given}: "), said


def test_a_quantisation_that_only_vllm_knows_is_vllms_to_judge(folder: Path) -> None:
    changed(folder, quantization_config={"quant_method": "of tomorrow"})
    assert "vLLM cannot run the model" in refused(folder, dtype="auto")


def test_pickled_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"a": torch.zeros(1)}, folder / "pytorch_model.bin")
    assert "holds pickled weights, which are never loaded" in refused(folder)


def test_weights_that_are_missing(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert "safetensors" in refused(folder)


def test_a_model_with_an_encoder(folder: Path) -> None:
    changed(folder, model_type="t5", architectures=["T5ForConditionalGeneration"])
    assert "use the generate engine" in refused(folder)


def test_weights_with_nan(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.down_proj.weight"][0, 0] = torch.nan
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with (
        pytest.raises(ConfigError, match="NaN or infinity in float32"),
        opened(folder, engine="vllm"),
    ):
        pass


def test_all_that_decides_about_texts_is_in_the_digest(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = ModelParts.read(tiny_model, "tiny", None)
    usual = {"context": 512, "dtype": "bfloat16", "quantization": None}

    def digest(args: dict[str, Any] | None = None, **more: Any) -> str:
        engine: Any = SimpleNamespace(**usual | more)
        return _digest(tiny_model, parts, VllmOptions(args=args or {}), engine)

    found = [
        digest(),
        digest(context=256),
        digest(dtype="float16"),
        digest(quantization="awq"),
        digest({"kv_cache_dtype": "fp8"}),
    ]
    with monkeypatch.context() as another:
        another.setattr("worker.vllm_model.vllm_version", lambda: "0.32.1")
        found.append(digest())
    assert len(set(found)) == len(found)
    assert digest({"enforce_eager": True}) == digest()
    assert digest({"kv_cache_dtype": "auto"}) == digest(), "as where it is left out"
