"""Libraries that get structure from models, unchanged: each makes its own type of what a model
writes at random."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.support.requirements import missing
from tests.support.up import Running

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-clients/bin/python"
PROGRAM = ROOT / "tests/clients/structured.py"
WAYS = list(runpy.run_path(str(PROGRAM))["WAYS"])


@pytest.fixture(scope="module")
def made(stack: Running) -> Callable[[str], dict[str, Any]]:
    """What a library made of each of its ways; it is started once."""
    if not PYTHON.exists():
        missing(".venv-clients: run `make clients`")
    server = stack.server()

    @cache
    def run(library: str) -> dict[str, Any]:
        direct = {"NO_PROXY": "127.0.0.1", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        ran = subprocess.run(
            [PYTHON, PROGRAM, library, f"{server['url']}/v1", server["api_key"], "bytes"],
            env={**os.environ, **direct},
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr[-3000:]
        found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
        return found

    return run


@pytest.mark.parametrize("way", WAYS)
def test_a_library_gets_its_type(way: str, made: Callable[[str], dict[str, Any]]) -> None:
    mood = made(way.partition(",")[0])[way]
    assert isinstance(mood, dict), mood
    assert mood.keys() == {"mood", "who", "sure"}
    assert mood["mood"] in ("good", "bad") and mood["who"].keys() == {"name", "age"}
