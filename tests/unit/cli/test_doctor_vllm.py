"""The doctor's checks of vLLM, where there is none, where it conflicts, and with too few GPUs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.doctor_model import check_model
from cli.doctor_vllm import check_files, check_gpus, check_versions, check_weights
from common.settings import Settings
from tests.support.adapters import MODULE, adapter_folder, write_tensors
from worker import gpu
from worker.engine.vllm import installed

NEEDS = {
    "vllm": ["transformers>=5.16.1,<5.20.0", "torch==2.13.0", "absent>=1", "b>9; extra == 'x'"],
    "promptmill": [
        "celery>=5.7",
        "vllm>=0.32,<0.33; extra == 'vllm'",
        "transformers==5.23.0; extra == 'worker'",
    ],
}


@pytest.fixture
def has(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What is installed, to be filled; the names of the packages and their versions."""
    versions = {"promptmill": "0.1.0"}
    monkeypatch.setattr(installed, "_version", lambda name: versions.get(name, ""))
    monkeypatch.setattr(installed, "requires", NEEDS.get)
    return versions


def settings(**given: Any) -> Settings:
    return Settings.load(**{"engine": "vllm", **given})


def test_without_vllm_the_doctor_says_how_to_install_it(
    has: dict[str, str], tmp_path: Path
) -> None:
    (fault,) = check_model(settings(), tmp_path)
    assert not fault.good and "not installed" in fault.what
    assert "without the extra `worker`" in fault.fix


def test_what_fits_has_no_conflicts(has: dict[str, str]) -> None:
    has |= {"vllm": "0.32.4", "transformers": "5.19.0", "torch": "2.13.0+cpu", "b": "1"}
    assert installed.installed() == ("vllm", "0.32.4")
    assert installed.conflicts() == []


def test_the_worker_extra_beside_vllm_is_told_by_package_and_version(has: dict[str, str]) -> None:
    has |= {"vllm": "0.32.0", "transformers": "5.23.0", "torch": "2.13.0"}
    (conflict,) = installed.conflicts()
    assert conflict == "transformers 5.23.0, but vLLM needs transformers<5.20.0,>=5.16.1"


@pytest.mark.parametrize("version", ["0.31.9", "0.33.0"])
def test_another_vllm_than_ours_is_told(has: dict[str, str], version: str) -> None:
    has["vllm"] = version
    assert f"vllm {version}, but promptmill needs vllm<0.33,>=0.32" in installed.conflicts()


def test_our_own_engine_in_vllms_environment_is_told(has: dict[str, str]) -> None:
    has |= {"vllm": "0.32.0", "transformers": "5.19.0"}
    (fault,) = check_versions()
    assert not fault.good and fault.fix.startswith("set PROMPTMILL_ENGINE=vllm, or pip install")
    assert "transformers 5.19.0, but promptmill[worker] needs transformers==5.23.0" in fault.what


def test_versions_that_our_own_engine_has_are_no_fault(has: dict[str, str]) -> None:
    has["transformers"] = "5.23.0"
    assert list(check_versions()) == []


def test_no_vllm_conflicts_with_nothing(has: dict[str, str]) -> None:
    assert installed.conflicts() == []


@pytest.mark.parametrize(
    ("there", "good", "said"),
    [
        (0, False, "4 of 0 visible GPUs"),
        (3, False, "4 of 3 visible GPUs"),
        (4, True, "4 of 4 visible GPUs: 1 fit"),
        (9, True, "4 of 9 visible GPUs: 2 fit"),
    ],
)
def test_the_gpus_that_a_worker_takes(
    monkeypatch: pytest.MonkeyPatch, there: int, good: bool, said: str
) -> None:
    monkeypatch.setattr(gpu, "visible_gpus", lambda: [f"GPU-{n}" for n in range(there)])
    found = check_gpus(settings(tensor_parallel=2, pipeline_parallel=2), is_cpu_build=False)
    assert found.good is good and said in found.what


def test_the_weights_of_each_gpu_are_told_from_the_files(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    size = 8 * 10**9
    head = {"w": {"dtype": "F16", "shape": [size // 2], "data_offsets": [0, size]}}
    table = json.dumps(head).encode()
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.write(len(table).to_bytes(8, "little") + table)
        file.truncate(8 + len(table) + size)  # a hole: takes no room on the disk
    found = check_weights(settings(model=str(tmp_path), tensor_parallel=4), tmp_path)
    assert found.good and "8.0 GB of weights, 2.0 GB for each of 4" in found.what


def test_a_checkpoint_without_safetensors_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.bin").write_bytes(b"x")
    (found,) = check_files(settings(model=str(tmp_path)))
    assert not found.good and "safetensors" in found.fix


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    """The files of a model with one module, of four heads."""
    folder = tmp_path / "llama"
    folder.mkdir()
    (folder / "config.json").write_text('{"num_attention_heads": 4}')
    write_tensors(folder / "model.safetensors", {f"{MODULE}.weight": [8, 8]})
    return folder


def test_each_adapter_is_checked_without_loading_the_model(llama: Path, tmp_path: Path) -> None:
    law = adapter_folder(tmp_path / "law", rank=2)
    wide = adapter_folder(tmp_path / "wide", sizes=(16, 8))
    given = f"law={law},wide={wide},none={tmp_path / 'none'}"
    _weights, fits, other, none = check_files(settings(model=str(llama), adapters=given))
    assert fits.good and fits.what == "adapter law fits llama, with rank 2"
    assert not other.good and "adapter wide cannot be served" in other.what
    assert "made for another model" in other.what and "PROMPTMILL_ADAPTERS" in other.fix
    assert not none.good and "adapter none cannot be served" in none.what


def test_heads_that_the_gpus_cannot_divide_are_told(llama: Path) -> None:
    (weights,) = check_files(settings(model=str(llama), tensor_parallel=2))
    assert weights.good
    _weights, heads = check_files(settings(model=str(llama), tensor_parallel=3))
    assert not heads.good and "4 attention heads, which PROMPTMILL_TENSOR_PARALLEL=3" in heads.what
    assert "set it to a number that does" in heads.what
