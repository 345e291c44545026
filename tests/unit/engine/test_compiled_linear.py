"""The compiled products compute what float64 does, to stated tolerances, and a row's bits depend on
nothing but the row and the weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.nn.functional import linear
from transformers.pytorch_utils import Conv1D

from worker.engine.kernels.compiled import CompiledLinear, pack, unpack
from worker.engine.kernels.library import Library, load
from worker.engine.kernels.packed import ADDED, FLOATS, GROUP, HALVES, Kind, PackedLinear

SIZES = (1, 15, 16, 47, 48, 49, 96, 100, 576, 577, 1536)
COUNTS = (*range(1, 21), 255, 300)  # rows
ULP = 2.0**-24  # the largest relative error of rounding to float32


@pytest.fixture(scope="module")
def library() -> Library:
    found = load()
    if found is None:
        pytest.skip("this machine has no compiled kernels")
    return found


@pytest.fixture(autouse=True)
def own_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def numbers(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


def exact(x: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The product in float64, and the sum of its terms' magnitudes."""
    x, weight = x.double(), weight.double()
    return linear(x, weight), linear(x.abs(), weight.abs())


@pytest.mark.parametrize("outs", SIZES)
def test_products_are_exact_but_for_the_rounding_of_each_addition(
    library: Library, outs: int
) -> None:
    for ins in SIZES:
        x, weight, bias = numbers(300, ins), numbers(outs, ins, seed=2), numbers(outs, seed=3)
        expected, magnitude = exact(x, weight)
        found = PackedLinear(library, weight).product(x, written=FLOATS)
        assert ((found - expected).abs() <= ins * ULP * magnitude).all()
        biased = PackedLinear(library, weight, bias)
        floats = biased.product(x, written=FLOATS)
        assert torch.equal(floats, found + bias.float())
        assert torch.equal(biased.product(x), floats.bfloat16())
        there = numbers(300, outs, seed=4)
        added = biased.product(x, there.clone(), ADDED)
        assert torch.equal(added, (there.float() + floats).bfloat16())  # rounded once


@pytest.mark.parametrize("kind", ["bf16", "int8"])
@pytest.mark.parametrize("outs", SIZES)
def test_a_row_has_the_same_bits_in_any_company_and_place(
    library: Library, outs: int, kind: Kind
) -> None:
    for ins in (15, 48, 577, 1536):
        layer = PackedLinear(library, numbers(outs, ins, seed=2), kind=kind)
        x = numbers(320, ins)
        alone = torch.cat([layer.product(row[None], written=FLOATS) for row in x])
        for count in COUNTS:
            for place in (0, 1, 19):
                rows = slice(place, place + count)
                assert torch.equal(layer.product(x[rows], written=FLOATS), alone[rows])


@pytest.mark.parametrize("kind", ["bf16", "int8"])
def test_the_number_of_threads_changes_no_bit(library: Library, kind: Kind) -> None:
    for outs, ins in ((40, 1536), (49, 577), (576, 100)):
        layer, x = PackedLinear(library, numbers(outs, ins, seed=2), kind=kind), numbers(300, ins)
        torch.set_num_threads(1)
        expected = {count: layer.product(x[:count], written=FLOATS) for count in (1, 9, 300)}
        for threads in (2, 3, 7):
            torch.set_num_threads(threads)
            for count, one in expected.items():
                assert torch.equal(layer.product(x[:count], written=FLOATS), one)


@pytest.mark.parametrize("kind", ["bf16", "int8"])
@pytest.mark.parametrize("written", [HALVES, FLOATS, ADDED])
def test_nothing_beside_the_rows_is_read_or_written(
    library: Library, kind: Kind, written: int
) -> None:
    for outs, ins in ((49, 577), (48, 15), (1, 1), (100, 96)):
        layer, x = PackedLinear(library, numbers(outs, ins, seed=2), kind=kind), numbers(11, ins)
        there = numbers(11, outs, seed=3)
        dtype = torch.float32 if written == FLOATS else torch.bfloat16
        expected = layer.product(x, there.to(dtype, copy=True), written)
        wide = torch.full((11, ins + 7), torch.nan, dtype=torch.bfloat16)
        wide[:, 3 : 3 + ins] = x
        out = torch.full((11, outs + 50), 7.0, dtype=dtype)
        out[:, :outs] = there
        layer.product(wide[:, 3 : 3 + ins], out[:, :outs], written)
        assert torch.equal(out[:, :outs], expected)
        assert (out[:, outs:] == 7).all()


@pytest.mark.parametrize("kind", ["bf16", "int8"])
def test_floats_may_begin_anywhere(library: Library, kind: Kind) -> None:
    for outs in (48, 96, 100):
        layer, x = PackedLinear(library, numbers(outs, 100, seed=2), kind=kind), numbers(11, 100)
        for width, column in ((112, 0), (128, 0), (128, 1), (128, 16), (113, 0)):
            out = torch.full((11, width), 7.0)
            layer.product(x, out[:, column : column + outs], FLOATS)
            for row in range(len(x)):
                alone = layer.product(x[row : row + 1], written=FLOATS)
                assert torch.equal(out[row, column : column + outs], alone[0])
            assert (out[:, :column] == 7).all() and (out[:, column + outs :] == 7).all()


def quantised(x: torch.Tensor, group: int) -> torch.Tensor:
    """The values in float64 that stand for `x` with one scale for each group of a row."""
    parts = []
    for part in x.float().split(group, -1):
        most = part.abs().amax(-1, keepdim=True)
        factor = torch.full_like(most, 127).div(most)  # `127 / most` rounds twice
        codes = torch.where(most > 0, (part * factor).round(), 0.0)
        parts.append(codes.double() * (most / 127).double())
    return torch.cat(parts, -1)


@pytest.mark.parametrize("outs", SIZES)
def test_int8_products_are_those_of_the_quantised_numbers(library: Library, outs: int) -> None:
    for ins in SIZES:
        x, weight, bias = numbers(20, ins), numbers(outs, ins, seed=2), numbers(outs, seed=3)
        layer = PackedLinear(library, weight, bias, kind="int8")
        values, weights = quantised(x, GROUP), quantised(weight, ins)
        expected, magnitude = exact(values, weights)
        found = layer.product(x, written=FLOATS)
        roundings = -(-ins // GROUP) + 4  # of each group, the scales, the last product, the bias
        bound = roundings * ULP * (magnitude + bias.abs())
        assert ((found - expected - bias).abs() <= bound).all()
        assert torch.equal(layer.product(x), found.bfloat16())


def test_int8_is_as_near_to_the_numbers_as_its_steps_allow(library: Library) -> None:
    x, weight = numbers(20, 577), numbers(49, 577, seed=2)
    x[3] *= 1e6
    found = PackedLinear(library, weight, kind="int8").product(x, written=FLOATS)
    expected, magnitude = exact(x, weight)
    parts = [part.abs().amax(-1, keepdim=True).expand_as(part) for part in x.split(GROUP, -1)]
    steps = torch.cat(parts, -1).double() / 254  # half a step, of the rows' numbers
    weight_steps = weight.abs().amax(-1, keepdim=True).expand_as(weight).double() / 254
    bound = linear(steps, weight.double().abs() + weight_steps)
    bound += linear(x.double().abs(), weight_steps) + 1e-5 * magnitude
    assert ((found - expected).abs() <= bound).all()
    assert ((found - expected).norm(dim=-1) <= 0.02 * expected.norm(dim=-1)).all()


@pytest.mark.parametrize("kind", ["bf16", "int8"])
@pytest.mark.parametrize("trouble", [torch.nan, torch.inf, -torch.inf])
def test_a_row_that_is_not_finite_is_its_own_trouble(
    library: Library, kind: Kind, trouble: float
) -> None:
    layer, x = PackedLinear(library, numbers(49, 577, seed=2), kind=kind), numbers(9, 577)
    expected = layer.product(x)
    x[4, 570] = trouble
    found = layer.product(x)
    others = torch.arange(9) != 4
    assert torch.equal(found[others], expected[others])
    assert not found[4].isfinite().any()


def test_rows_of_zeros_and_of_very_large_and_small_numbers_are_quantised(library: Library) -> None:
    weight = (numbers(48, 128, seed=2) * 1e-3).bfloat16()
    layer, x = PackedLinear(library, weight, kind="int8"), numbers(4, 128)
    x[0], x[1, :GROUP] = 0, 0
    x[2] = (x[2] * 1e34).bfloat16()
    x[3] = (x[3] * 1e-39).bfloat16()
    found = layer.product(x, written=FLOATS)
    assert (found[0] == 0).all()
    expected, magnitude = exact(x, weight)
    assert ((found - expected).abs()[1:3] <= 0.01 * magnitude[1:3]).all()
    assert (found[3].abs() <= 1e-30).all()
    empty = PackedLinear(library, torch.zeros(3, 128).bfloat16(), kind="int8")
    assert (empty.product(x) == 0).all()


def test_what_the_kernels_cannot_read_is_refused(library: Library) -> None:
    layer, x = PackedLinear(library, numbers(4, 6)), numbers(3, 6)
    with pytest.raises(ValueError, match=r"float32 of shape \(3, 6\) where .*bfloat16 of shape"):
        layer.product(x.float())
    with pytest.raises(ValueError, match=r"shape \(3, 5\)"):
        layer.product(x[:, :5])
    with pytest.raises(ValueError, match="lie 2 apart"):
        layer.product(numbers(3, 12)[:, ::2])
    with pytest.raises(ValueError, match=r"bfloat16 of shape \(3, 4\) where torch.float32"):
        layer.product(x, numbers(3, 4), FLOATS)
    with pytest.raises(ValueError, match="no weight to pack"):
        PackedLinear(library, numbers(4, 6).float())
    with pytest.raises(ValueError, match="quantised"):
        PackedLinear(library, numbers(4, 6), kind="int8").unpacked()


def test_more_rows_than_memory_holds_are_refused_and_the_next_are_computed(
    library: Library,
) -> None:
    layer, x = PackedLinear(library, numbers(4, 64), kind="int8"), numbers(1, 64)
    expected = layer.product(x)
    many = 1 << 42
    with pytest.raises(MemoryError, match=f"{many} quantised rows of 64"):
        layer.product(x.expand(many, 64), numbers(1, 4).expand(many, 4))
    assert torch.equal(layer.product(x), expected)


def small_model() -> Any:
    torch.manual_seed(1)
    layers = (torch.nn.Linear(5, 7), Conv1D(9, 7), torch.nn.Linear(9, 4, bias=False))
    return torch.nn.Sequential(*layers).bfloat16().requires_grad_(requires_grad=False)


def test_a_models_linear_layers_are_replaced_and_put_back(library: Library) -> None:
    model = small_model()
    weights = [layer.weight.clone() for layer in model]
    x = numbers(2, 3, 5)
    expected, before = model(x), library.calls()
    assert pack(model, library) == 3
    assert all(isinstance(layer, CompiledLinear) for layer in model)
    assert sum(one.numel() for one in model.parameters()) == 0  # no weight is held twice
    torch.testing.assert_close(model(x), expected, rtol=2e-2, atol=2e-2)
    assert library.calls() > before
    turned = numbers(3, 2, 5).transpose(0, 1)
    assert torch.equal(model(turned), model(turned.contiguous()))
    assert torch.equal(model(numbers(1, 10)[:, ::2]), model(numbers(1, 10)[:, ::2].contiguous()))
    assert model(x[:, :0]).shape == (2, 0, 4)
    assert torch.equal(model[1].weight, weights[1])
    assert unpack(model, only_read=True) == 1
    assert [type(layer) for layer in model] == [CompiledLinear, Conv1D, CompiledLinear]
    assert unpack(model) == 2
    assert torch.equal(model(x), expected)
    after = [layer.weight for layer in model]
    assert all(torch.equal(*pair) for pair in zip(weights, after, strict=True))


def test_only_bfloat16_layers_are_replaced(library: Library) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.LayerNorm(7))
    assert pack(model, library) == 0
    assert type(model[0]) is torch.nn.Linear
