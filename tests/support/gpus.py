"""A machine with as many GPUs as a test says: `nvidia-smi` is a script."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def uuid(index: int) -> str:
    return f"GPU-{index:04}"


def have_gpus(folder: Path, patch: pytest.MonkeyPatch, count: int) -> None:
    """From now on the driver shows `count` GPUs, all of them visible."""
    tool = folder / "nvidia-smi"
    lines = [f"echo '{index}, {uuid(index)}'" for index in range(count)]
    tool.write_text("\n".join(["#!/bin/sh", *lines]) + "\n")
    tool.chmod(0o755)
    patch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
