"""docs/vllm.md names what settings allow; the sizes in docs/deployment.md can be computed."""

from __future__ import annotations

import re

import pytest

from common.settings import variable
from common.vllm_args import VllmArgs
from common.worker_settings import ONLY_VLLM
from tests.support.processes import ROOT

PAGE = (ROOT / "docs" / "vllm.md").read_text()
DEPLOYMENT = (ROOT / "docs" / "deployment.md").read_text()

GIB = 2**30
LAYERS, KEY_HEADS, WIDTH, HIDDEN, INNER, VOCABULARY = 80, 8, 128, 8192, 28672, 128256
WEIGHTS = 2 * VOCABULARY * HIDDEN + LAYERS * (
    2 * HIDDEN * HIDDEN + 2 * HIDDEN * KEY_HEADS * WIDTH + 3 * HIDDEN * INNER
)
TOKEN = 2 * LAYERS * KEY_HEADS * WIDTH * 2  # bytes of its keys and values
SHARE, BESIDE = 0.92 * 79.6, 4  # GiB of a GPU: what a worker takes, and what is no weights or cache


@pytest.mark.parametrize("name", sorted(VllmArgs.model_fields))
def test_every_argument_that_may_be_given_is_named(name: str) -> None:
    assert f"`{name}`" in PAGE


@pytest.mark.parametrize("name", sorted(ONLY_VLLM))
def test_every_setting_of_vllm_is_named(name: str) -> None:
    assert f"| `{variable(name)}` |" in PAGE


def test_the_weights_of_a_70b_model() -> None:
    assert f"{WEIGHTS / 1e9:.1f} billion" in DEPLOYMENT
    assert f"| {WEIGHTS * 2 / 4 / GIB:.1f} GiB |" in DEPLOYMENT
    assert f"= {TOKEN / 1024:.0f} KiB" in DEPLOYMENT


def test_the_tokens_that_fit() -> None:
    rows = re.findall(r"on (\d) \| ([\d.]+) GiB \| about ([\d,]+)", DEPLOYMENT)
    assert len(rows) == 5
    for gpus, weights, told in rows:
        free = (SHARE - float(weights) - BESIDE) * GIB
        tokens = free / (TOKEN / int(gpus))
        assert int(told.replace(",", "")) == pytest.approx(tokens, rel=0.05)
