"""The commit hooks run what `make lint` runs, the workflow runs everything on every Python."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[3]


def test_the_commit_hooks_run_every_linter_from_the_environment_of_the_checkout() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    entries = [hook["entry"] for repo in hooks for hook in repo["hooks"]]
    assert [repo["repo"] for repo in hooks] == ["local"]
    assert all(entry.startswith(".venv/bin/") for entry in entries)
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe
    for tool in re.findall(r"\$\(BIN\)/(\S+(?: [\w./]+)?)", recipe[1]):
        assert any(entry.startswith(f".venv/bin/{tool}") for entry in entries), tool


def test_the_workflow_runs_everything_on_every_supported_python() -> None:
    job = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]["test"]
    assert job["steps"][-1]["run"] == ".ci/run"
    project = (ROOT / "pyproject.toml").read_text()
    bounds = re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', project)
    assert bounds
    supported = [f"3.{minor}" for minor in range(int(bounds[1]), int(bounds[2]))]
    assert job["strategy"]["matrix"]["python"] == supported
