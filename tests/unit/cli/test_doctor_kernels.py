"""The doctor says which kernels a worker computes with, and builds none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from cli.doctor_model import Kernels
from common.settings import Settings
from worker.engine.kernels import build


@pytest.fixture(autouse=True)
def cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU that has the instructions."""
    monkeypatch.setattr(build, "check_cpu", lambda: None)


def look(folder: Path, **settings: Any) -> Kernels:
    kind: dict[str, Any] = {"device": "cpu", "dtype": "bfloat16", "cache": folder, **settings}
    found = Kernels.look(Settings.load(**kind))
    assert found.finding.good  # torch's kernels work too
    return found


def test_kernels_that_the_first_worker_will_build(tmp_path: Path) -> None:
    found = look(tmp_path)
    assert found.will_be_built
    assert "will be compiled when a worker first starts" in found.finding.what
    assert list(tmp_path.iterdir()) == []


def test_what_faster_kernels_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = look(tmp_path)
    assert not found.will_be_built
    assert "torch's own, which are slower" in found.finding.what
    assert "install g++" in found.finding.what


@pytest.mark.parametrize("settings", [{"dtype": "float32"}, {"engine": "generate"}])
def test_models_that_never_run_on_compiled_kernels(tmp_path: Path, settings: Any) -> None:
    assert "ours are for bfloat16 on a CPU" in look(tmp_path, **settings).finding.what


def test_the_setting_torch(tmp_path: Path) -> None:
    assert "PROMPTMILL_KERNELS=torch" in look(tmp_path, kernels="torch").finding.what
