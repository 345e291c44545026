"""The compiled pass computes what the models' own modules compute."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from common.errors import ConfigError
from tests.unit.engine.compiled_models import KINDS, probed, small
from tests.unit.engine.tiny import build
from worker.engine.attention.native import Native
from worker.engine.kernels.library import Library
from worker.engine.kernels.packed import Kind
from worker.engine.model.choice import NotCompiled, compiled_forward, library_for
from worker.engine.model.compiled import CompiledForward
from worker.engine.model.compose import compose
from worker.engine.model.forward import ModulesForward
from worker.engine.model.llama import FAMILIES
from worker.engine.model.packable import BLOCKS, gathered, packed_logits, trial_rows
from worker.engine.model.rotation import PIECE, Rotation
from worker.engine.model.selfcheck import difference

LIMIT = {"bf16": 0.03, "int8": 0.1}  # what rounding explains in two layers


def by_modules(model: Any, shapes: Any) -> list[torch.Tensor]:
    forward = ModulesForward(model)
    return packed_logits(forward, gathered(forward, shapes, 4), trial_rows(model.config, 4))


def by_kernels(
    model: Any, shapes: Any, library: Library, kind: Kind = "bf16"
) -> tuple[CompiledForward, list[torch.Tensor]]:
    forward = CompiledForward(model, shapes, library, kind)
    backend = Native(shapes, blocks=BLOCKS, library=library)
    return forward, packed_logits(forward, backend, trial_rows(model.config, 4))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("width", "group"), [(32, 1), (64, 3), (80, 2), (256, 1)])
@pytest.mark.parametrize("family", FAMILIES)
def test_its_logits_are_those_of_the_modules(
    family: str, width: int, group: int, kind: Kind, library: Library
) -> None:
    model = small(family, width=width, group=group)
    shapes = probed(model)
    expected = by_modules(model, shapes)
    before = library.calls()
    _, found = by_kernels(model, shapes, library, kind)
    assert all(row.dtype == torch.float32 for row in found)
    assert difference(expected, found) < LIMIT[kind]
    assert library.calls() > before


@pytest.mark.parametrize(
    "changes",
    [
        {"attention_bias": True, "mlp_bias": True},
        {"tie_word_embeddings": True},
        {"hidden_size": 65, "intermediate_size": 47, "group": 5, "heads": 1},
        {"vocab_size": 1000, "rms_norm_eps": 1e-2},
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_it_takes_other_llamas(changes: dict[str, Any], kind: Kind, library: Library) -> None:
    model = small("llama", **changes)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    shapes = probed(model)
    expected = by_modules(model, shapes)
    assert difference(expected, by_kernels(model, shapes, library, kind)[1]) < LIMIT[kind]


def test_weights_are_held_once_and_can_be_given_back(library: Library) -> None:
    model = small("qwen2", tie_word_embeddings=True)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    shapes = probed(model)
    expected = by_modules(model, shapes)
    forward, _ = by_kernels(model, shapes, library)
    layer = model.model.layers[0]
    assert not any(part.weight.numel() for part in (layer.self_attn.q_proj, layer.mlp.down_proj))
    forward.give_back()
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert all(map(torch.equal, by_modules(model, shapes), expected))


def test_it_refuses_models_of_another_build_and_leaves_them_their_weights(
    library: Library,
) -> None:
    for model in (small("granite"), small("llama", hidden_act="gelu")):
        before = {name: value.clone() for name, value in model.state_dict().items()}
        with pytest.raises(ValueError, match="built as Llama"):
            CompiledForward(model, probed(model), library)
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_step_that_asks_for_what_is_not_there_is_refused(library: Library) -> None:
    model = small("llama")
    runner = compose(model, rows=2, context=64)
    for tokens, wanted in (([96], [0]), ([-1], [0]), ([3], [1])):
        with pytest.raises(IndexError):
            runner.logits([tokens], [([0], 0)], wanted)
    assert runner.logits([[95]], [([0], 0)], [0]).isfinite().all()


# The parts


@pytest.mark.parametrize("width", [1, 15, 16, 17, 64, 576, 1000])
@pytest.mark.parametrize("size", [1e-3, 1.0, 300.0])
def test_the_norm(width: int, size: float, library: Library) -> None:
    torch.manual_seed(1)
    module = LlamaRMSNorm(width, 1e-5).to(torch.bfloat16)
    module.weight.data.uniform_(-2, 2)
    x = (torch.randn(5, width) * size).to(torch.bfloat16)
    found = torch.empty_like(x)
    library.functions.pm_norm(
        x.data_ptr(), len(x), module.weight.data_ptr(), 1e-5, width, found.data_ptr()
    )
    exact = x.double()
    exact = exact * torch.rsqrt(exact.square().mean(-1, keepdim=True) + 1e-5)
    expected = exact * module.weight.double()
    torch.testing.assert_close(found.double(), expected, rtol=8e-3, atol=1e-6)


def test_a_position_has_the_same_rotation_however_the_tables_grew() -> None:
    model = small("llama")
    rotary = model.model.rotary_emb
    grown, whole = Rotation(rotary, 32), Rotation(rotary, 32)
    for positions in (2, PIECE + 1, 5 * PIECE, 1000):
        grown.reach(positions)
    whole.reach(1000)
    assert len(grown.cosines) >= 1000
    assert torch.equal(grown.cosines[:1000], whole.cosines[:1000])
    assert torch.equal(grown.sines[:1000], whole.sines[:1000])
    cosines, sines = rotary(torch.empty(1, 1), torch.arange(1000)[None])
    torch.testing.assert_close(whole.cosines[:1000], cosines[0, :, :16])
    torch.testing.assert_close(whole.sines[:1000], sines[0, :, :16])


# The choice


@pytest.mark.parametrize("family", FAMILIES)
def test_these_families_take_it(family: str, library: Library) -> None:
    runner = compose(small(family), rows=2, context=64)
    assert runner.parts["kernels"] == library.name
    assert (runner.parts["forward"], runner.parts["attention"]) == ("compiled", "native")
    assert runner.batch_invariant


@pytest.mark.parametrize("family", ["granite", "gpt2", "qwen3_moe"])
def test_others_run_their_modules_over_the_kernels(family: str, library: Library) -> None:
    # A head of gpt2 is as wide as is left for it, and torch's experts take no odd sizes.
    model = small(family, hidden_size=128, moe_intermediate_size=64)
    runner = compose(model, rows=2, context=64)
    assert runner.parts["kernels"] == library.name
    assert (runner.parts["forward"], runner.parts["attention"]) == ("modules", "native")
    assert not runner.batch_invariant
    before = library.calls()
    assert runner.logits([[5, 6]], [([0], 0)], [1]).isfinite().all()
    assert library.calls() > before


def test_what_the_kernels_lack_is_computed_by_torch(
    library: Library, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    lacking = {
        "float32": build("llama"),
        "soft caps": small("gemma2"),
        "sinks": small("gpt_oss", hidden_size=128, intermediate_size=64),
        "multiple of 16": small("llama", width=24),
    }
    for word, model in lacking.items():
        caplog.clear()
        runner = compose(model, rows=2, context=64)
        assert runner.parts["kernels"] == "torch" and not runner.batch_invariant
        assert [line for line in caplog.messages if word in line], word
    assert compose(small("llama"), rows=2, context=64, kernels="torch").kernels == "torch"


def test_a_model_that_does_more_than_its_family_is_computed_by_torch(
    library: Library, caplog: pytest.LogCaptureFixture
) -> None:
    model = small("llama")
    model.model.norm.register_forward_hook(lambda _module, _args, out: -out)
    shapes = probed(model)
    expected = by_modules(model, shapes)
    with pytest.raises(NotCompiled, match="wrong for this model"):
        compiled_forward(model, shapes, library_for(model, shapes, "auto"), "bf16")
    assert all(map(torch.equal, by_modules(model, shapes), expected))


def test_int8_is_refused_where_nothing_computes_in_it(library: Library) -> None:
    for model, why in (
        (small("granite"), "only models of the types"),
        (build("llama"), "float32"),
        (small("gemma2"), "soft caps"),
    ):
        with pytest.raises(ConfigError, match=why):
            compose(model, rows=2, context=64, quantize="int8")
    with pytest.raises(ConfigError, match="PROMPTMILL_KERNELS"):
        compose(small("llama"), rows=2, context=64, quantize="int8", kernels="torch")
    runner = compose(small("llama"), rows=2, context=64, quantize="int8")
    assert runner.parts["kernels"] == f"{library.name}+int8" and runner.batch_invariant
