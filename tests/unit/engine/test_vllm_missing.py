"""Without vLLM its engine says how to install it, and nothing else needs it."""

from __future__ import annotations

import sys

import pytest

from common.errors import ConfigError
from worker.engine.vllm.library import VARIABLES, vllm_version


def test_without_vllm_the_engine_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, "")
    monkeypatch.setitem(sys.modules, "vllm", None)  # as if it were not installed
    with pytest.raises(ConfigError, match=r"needs vLLM.*pip install 'promptmill\[vllm\]'"):
        vllm_version()
