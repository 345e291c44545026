"""Which forward pass runs a model: the lean one and packed weights only after a comparison."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch

from tests.unit.engine.tiny import build
from worker.engine.kernels.joined import joined_of
from worker.engine.kernels.linear import Packed, pack
from worker.engine.model import llama
from worker.engine.model.compose import forward_of, pack_weights
from worker.engine.model.forward import ModulesForward
from worker.engine.model.llama import FAMILIES, LlamaForward
from worker.engine.model.packable import probe
from worker.engine.model.selfcheck import difference

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


@pytest.mark.parametrize(
    ("family", "changes"),
    [*((family, {}) for family in FAMILIES), ("llama", {"attention_bias": True, "mlp_bias": True})],
)
def test_on_a_gpu_layers_are_joined(
    family: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llama, "joins", lambda _: True)
    model = build(family, **changes)
    shapes = probe(model)
    before = [weight.clone() for weight in model.parameters()]
    assert isinstance(forward_of(model, shapes), LlamaForward)
    attention = model.model.layers[0].self_attn
    assert all(map(torch.equal, before, model.parameters())), "the modules keep their weights"
    one, other = (part.weight.untyped_storage() for part in (attention.q_proj, attention.v_proj))
    assert one.data_ptr() == other.data_ptr(), "they are held once"


def test_logits_that_are_not_numbers_agree_with_none() -> None:
    logits = torch.randn(5, 7)
    assert difference([logits, logits], [logits, logits]) == 0
    for broken in ([logits, logits * torch.nan], [logits * torch.nan, logits]):
        assert not difference([logits, logits], broken) < 1


def test_layers_that_are_not_alike_cannot_be_joined() -> None:
    with pytest.raises(ValueError, match="joined"):
        joined_of(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4, bias=False))


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
