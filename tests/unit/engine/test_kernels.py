"""Packed linear layers, norm, rotation and gate compute what torch and transformers compute."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import linear, silu
from transformers.models.llama.modeling_llama import LlamaRMSNorm, apply_rotary_pos_emb

from worker.engine.kernels import ops
from worker.engine.kernels.linear import Packed, packs
from worker.engine.kernels.ops import gated, rms_norm, rotate

CPU_PACKS = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="nothing is packed without oneDNN"
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tokens", [1, 7, 300])
def test_the_norm_is_the_norm_for_few_and_for_many_tokens(tokens: int, dtype: torch.dtype) -> None:
    torch.manual_seed(tokens)
    x = torch.randn(tokens, 576).to(dtype) * 3
    weight = torch.randn(576).to(dtype)
    expected = torch.rms_norm(x.double(), (576,), weight.double(), 1e-5)
    found = ops.rms_norm(x, torch.cat((weight, weight)), 1e-5)
    torch.testing.assert_close(
        found.double(), expected, rtol=1e-5 if dtype == torch.float32 else 1e-2, atol=1e-5
    )


@CPU_PACKS
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(576, 1536), (960, 576), (40, 24)])
def test_a_row_alone_is_the_row_it_is_among_others(
    dtype: torch.dtype, shape: tuple[int, int]
) -> None:
    if not packs(dtype):
        pytest.skip("this CPU packs no such weights")
    torch.manual_seed(1)
    layer = torch.nn.Linear(shape[1], shape[0]).to(dtype)
    x, other = torch.randn(30, shape[1]).to(dtype), torch.randn(30, shape[0]).to(dtype)
    packed = Packed([layer])
    with torch.inference_mode():
        for rows in (1, 2, 3, 7):
            assert torch.equal(packed(x[:rows]), packed(x)[:rows])
            assert torch.equal(packed(x[None, :rows]), packed(x)[None, :rows])
            assert torch.equal(packed.plus(x[:rows], other[:rows]), packed.plus(x, other)[:rows])
        expected = linear(x.double(), layer.weight.double(), layer.bias.double())
        close: dict[str, Any] = (
            {"rtol": 2e-2, "atol": 2e-2}
            if dtype == torch.bfloat16
            else {"rtol": 1e-4, "atol": 1e-5}
        )
        torch.testing.assert_close(packed(x).double(), expected, **close)
        torch.testing.assert_close(packed.plus(x, other).double(), expected + other, **close)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [1e-3, 1.0, 300.0])
def test_the_norm_is_llamas(dtype: torch.dtype, size: float) -> None:
    torch.manual_seed(1)
    module = LlamaRMSNorm(64, 1e-5).to(dtype)
    module.weight.data.uniform_(-2, 2)
    x = (torch.randn(5, 3, 64) * size + size / 2).to(dtype)
    found = rms_norm(x, torch.cat((module.weight, module.weight)), 1e-5)
    close: dict[str, Any] = (
        {"rtol": 2e-2, "atol": 1e-3} if dtype == torch.bfloat16 else {"rtol": 1e-5, "atol": 1e-6}
    )
    torch.testing.assert_close(found, module(x), **close)


def test_the_rotation_is_llamas() -> None:
    torch.manual_seed(1)
    query, angles = torch.randn(1, 3, 5, 16), torch.randn(1, 5, 8).repeat(1, 1, 2)
    expected, _ = apply_rotary_pos_emb(query, query, angles.cos(), angles.sin())
    cos, sin = angles[0].cos()[:, None], angles[0].sin()[:, None]
    sin = torch.cat((-sin[..., :8], sin[..., 8:]), -1)
    torch.testing.assert_close(
        rotate(query[0].transpose(0, 1), cos, sin), expected[0].transpose(0, 1)
    )


def test_the_gate() -> None:
    x = torch.randn(4, 12)
    torch.testing.assert_close(gated(x), silu(x[:, :6]) * x[:, 6:])
