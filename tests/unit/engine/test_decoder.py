"""The lean forward pass: which models take it, that it is compared first, and its kernels one by
one."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch.nn.functional import linear, silu
from transformers.models.llama.modeling_llama import LlamaRMSNorm, apply_rotary_pos_emb

from tests.unit.engine.tiny import build
from worker.engine.kernels.linear import Packed, pack, packs
from worker.engine.kernels.ops import gated, rms_norm, rotate
from worker.engine.model.compose import forward_of, pack_weights
from worker.engine.model.forward import ModulesForward
from worker.engine.model.llama import FAMILIES, LlamaForward
from worker.engine.model.packable import probe

CPU_PACKS = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="nothing is packed without oneDNN"
)


def prepared(family: str, **changes: Any) -> tuple[Any, Any]:
    model = build(family, **changes)
    shapes = probe(model)
    pack(model)
    return model, shapes


@CPU_PACKS
@pytest.mark.parametrize("family", FAMILIES)
def test_these_families_take_it(family: str) -> None:
    assert isinstance(forward_of(*prepared(family)), LlamaForward)


@CPU_PACKS
def test_it_takes_biases() -> None:
    model, shapes = prepared("llama", attention_bias=True, mlp_bias=True)
    assert isinstance(forward_of(model, shapes), LlamaForward)


@CPU_PACKS
@pytest.mark.parametrize("family", ["gpt2", "gemma2", "qwen3_moe", "granite"])
def test_others_run_their_own_modules(family: str) -> None:
    assert isinstance(forward_of(*prepared(family)), ModulesForward)


def test_what_is_not_packed_runs_its_own_modules() -> None:
    model = build("llama")
    assert isinstance(forward_of(model, probe(model)), ModulesForward)


@CPU_PACKS
@pytest.mark.parametrize("family", ["hunyuan_v1_moe", "longcat_flash"])
def test_a_layer_whose_weight_the_model_reads_stays_as_it_was(family: str) -> None:
    model = build(family)
    read = {name for name, _ in model.named_modules() if name.endswith((".wg", ".classifier"))}
    packed = pack_weights(model, probe(model))
    kinds = {name: type(module) for name, module in model.named_modules()}
    assert packed and read and all(kinds[name] is torch.nn.Linear for name in read)
    assert any(kind is Packed for kind in kinds.values())


@CPU_PACKS
@pytest.mark.parametrize("wrong", ["fails", "differs"])
def test_a_model_that_packed_weights_do_not_suit_keeps_its_own(
    wrong: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def forward(self: Packed, x: torch.Tensor) -> torch.Tensor:
        if wrong == "fails":
            raise RuntimeError("no such instruction")
        return original(self, x) * 1.1

    original = Packed.forward
    monkeypatch.setattr(Packed, "forward", forward)
    model = build("granite", attention_bias=True)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    shapes = probe(model)
    with caplog.at_level(logging.WARNING):
        assert pack_weights(model, shapes) == 0
    assert "keeps its own" in caplog.text
    after = model.state_dict()
    assert list(after) == list(before) and all(
        torch.equal(after[name], before[name]) for name in before
    )
    assert isinstance(forward_of(model, shapes), ModulesForward)


@CPU_PACKS
def test_bfloat16_runs_where_the_cpu_cannot_pack_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.engine.kernels.linear.packs", lambda dtype: dtype == torch.float32)
    model = build("llama").to(torch.bfloat16)
    shapes = probe(model)
    assert pack_weights(model, shapes) == 0
    assert isinstance(forward_of(model, shapes), ModulesForward)


@CPU_PACKS
def test_a_model_that_does_more_than_its_family_is_found_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = build("llama")
    model.model.norm.register_forward_hook(lambda _module, _args, out: out * 1.5)
    shapes = probe(model)
    pack(model)
    with caplog.at_level(logging.WARNING):
        assert isinstance(forward_of(model, shapes), ModulesForward)
    assert "wrong for this model" in caplog.text


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
