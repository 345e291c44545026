"""The compiled attention computes what float64 does, to a stated tolerance, and a token's bits
depend on nothing but what it sees."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch

from tests.unit.engine.paged import Layer, Text
from worker.engine.attention.backend import LayerShape
from worker.engine.attention.native import SIZE, WIDTHS, serves
from worker.engine.kernels.library import Library

LENGTHS = (1, 15, 16, 17, 63, 64, 65, 127, 130, 513)
COMPANY = (2, 7, 8, 9, 48, 255)
CHUNKS = (1, 15, 16, 17, 1024)
# Weights and results are rounded to bfloat16, by 2^-8 of them at most; 1 % more for the rest.
TOLERANCE = 1.01 * 2 * 2.0**-8


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The tests take a second one where it is to change nothing: they are many, and torch's
    threads wait for each other where others compute beside them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def check(layer: Layer, text: Text, found: torch.Tensor) -> None:
    """Compare some 20 tokens of a text, the first and the last among them, with float64."""
    last = len(text.key) - 1
    positions = sorted({*range(0, last, last // 20 + 1), last})
    expected, magnitude = text.expected(positions, layer.how)
    assert ((found[positions].double() - expected).abs() <= TOLERANCE * magnitude).all()


# What it computes


@pytest.mark.parametrize("width", WIDTHS)
def test_each_token_sees_the_weighted_mean_of_values_in_chunks_and_alone(
    library: Library, width: int
) -> None:
    for group, window in [(1, None), (2, 5), (3, None), (4, 64), (7, 70), (8, 1), (13, None)]:
        layer = Layer(library, group=group, width=width, window=window)
        texts = [layer.text(tokens) for tokens in LENGTHS]
        together = layer.step([(text, 0, len(text.key)) for text in texts])
        for text, found in zip(texts, together, strict=True):
            check(layer, text, found)
        alone = layer.step([(text, len(text.key) - 1, 1) for text in texts])
        for last, found in zip(alone, together, strict=True):
            assert torch.equal(last[0], found[-1])


def test_long_texts(library: Library) -> None:
    for window in (None, 1000):
        layer = Layer(library, heads=1, window=window)
        text = layer.text(4097)
        found = layer.chunks(text, 1024)
        check(layer, text, found)


def test_strides_of_what_it_is_given_change_nothing(library: Library) -> None:
    layer = Layer(library)
    text = layer.text(40)
    expected = layer.chunks(text, 40)
    for name in ("query", "key", "value"):
        plain = getattr(text, name)
        setattr(text, name, plain.transpose(0, 1).contiguous().transpose(0, 1))
    assert torch.equal(layer.chunks(text, 40), expected)
    joined = torch.cat([text.query, text.key, text.value], dim=1)
    text.query, text.key, text.value = joined.split([6, 2, 2], dim=1)
    assert torch.equal(layer.chunks(text, 40), expected)


def test_what_it_serves() -> None:
    def served(dtype: torch.dtype = torch.bfloat16, **changes: Any) -> bool:
        plain = LayerShape(2, 64, 64)
        return serves({0: plain, 1: replace(plain, **changes)}, dtype)

    assert served() and served(window=7)
    assert not served(torch.float32)
    assert not served(plain=False)
    assert not served(key_width=128)
    assert not served(key_width=24, value_width=24)
    assert not served(key_width=272, value_width=272)
    assert not served(scale=-1.0)


# The same bits in any company


def differences(layer: Layer, counts: tuple[int, ...], shared: int) -> int:
    """How many rows differ from what they are alone on one thread, beside neighbours that begin
    with the same `shared` blocks, on one thread and on two."""
    text = layer.text(180)
    alone = layer.chunks(text, 1024)
    drawn = random.Random(1)
    differ = 0
    for count in counts:
        others = [
            layer.text(drawn.randint(shared * SIZE + 1, shared * SIZE + 40), text.blocks[:shared])
            for _ in range(count)
        ]
        for other in others:  # what they share is the same text
            other.key[: shared * SIZE] = text.key[: shared * SIZE]
            other.value[: shared * SIZE] = text.value[: shared * SIZE]
        begun = [(other, shared * SIZE, len(other.key) - shared * SIZE) for other in others]
        chunked = layer.step(begun)
        rows = [(other, len(other.key) - 1, 1) for other in others]
        for threads, position in zip((1, 2, 1, 2), (128, 135, 178, 179), strict=True):
            torch.set_num_threads(threads)
            place = drawn.randrange(len(rows) + 1)
            # One neighbour is a chunk; the others are single tokens, as this row is.
            step = [begun[0], *rows[1:]]
            step.insert(place, (text, position, 1))
            found = layer.step(step)
            differ += not torch.equal(found.pop(place)[0], alone[position])
            differ += not torch.equal(found[0], chunked[0])
            differ += sum(
                not torch.equal(one[0], chunk[-1])
                for one, chunk in zip(found[1:], chunked[1:], strict=True)
            )
        torch.set_num_threads(1)
        for other in others:
            other.blocks = other.blocks[shared:]
        layer.give_back(others)
    return differ


@pytest.mark.parametrize("shared", [0, 1, 5, 8])
@pytest.mark.parametrize(
    ("width", "group", "window"), [(64, 3, None), (80, 1, None), (32, 8, None), (64, 2, 70)]
)
def test_a_row_is_the_same_beside_any_others(
    library: Library, width: int, group: int, window: int | None, shared: int
) -> None:
    layer = Layer(library, width=width, group=group, window=window, blocks=2000)
    assert differences(layer, COMPANY, shared) == 0


def test_merging_parts_that_were_computed_apart_would_show(
    library: Library, merging: Library
) -> None:
    assert differences(Layer(merging, blocks=2000), (8, 48), 0) == 0
    assert differences(Layer(merging, blocks=2000), (8, 48), 5) > 0
    assert differences(Layer(library, blocks=2000), (8, 48), 5) == 0


@pytest.mark.parametrize(("width", "group", "window"), [(64, 3, None), (48, 7, 100)])
def test_the_size_of_chunks_changes_nothing(
    library: Library, width: int, group: int, window: int | None
) -> None:
    layer = Layer(library, width=width, group=group, window=window)
    text = layer.text(1100)
    expected = layer.chunks(text, 2048)
    for threads, size in product((1, 2), CHUNKS):
        torch.set_num_threads(threads)
        layer.place(text)
        end = min(70 * size, 1100)
        assert torch.equal(layer.chunks(text, size, end), expected[:end])
        layer.give_back([text])


@pytest.mark.parametrize("seed", range(3))
def test_any_mixture_of_chunks_and_single_tokens_gives_the_same(
    library: Library, seed: int
) -> None:
    drawn = random.Random(seed)
    layer = Layer(library, blocks=1000, seed=seed)
    torch.set_num_threads(2)
    texts = [layer.text(drawn.randint(1, 300)) for _ in range(20)]
    expected = [layer.chunks(text, 2048) for text in texts]
    done = dict.fromkeys(range(len(texts)), 0)
    for text in texts:
        layer.place(text)
    while done:
        taken = drawn.sample(sorted(done), drawn.randint(1, len(done)))
        counts = [
            min(drawn.choice([1, 1, 1, 2, 16, 33, 120]), len(texts[number].key) - done[number])
            for number in taken
        ]
        found = layer.step(
            [
                (texts[number], done[number], count)
                for number, count in zip(taken, counts, strict=True)
            ]
        )
        for number, count, rows in zip(taken, counts, found, strict=True):
            assert torch.equal(rows, expected[number][done[number] : done[number] + count])
            done[number] += count
            if done[number] == len(texts[number].key):
                del done[number]


# What a token may not see


@pytest.mark.parametrize("window", [None, 40])
def test_what_lies_in_other_places_changes_nothing(library: Library, window: int | None) -> None:
    layer = Layer(library, window=window)
    text, other = layer.text(150), layer.text(150)
    expected = layer.chunks(text, 2048)
    layer.chunks(other, 2048)
    kept = set(text.blocks)
    for block in set(range(len(layer.units))) - kept:
        layer.forget(block)
    layer.forget(text.blocks[-1], 150 % SIZE)  # the tail of its last block
    if window:
        for block in text.blocks[: (150 - window) // SIZE]:
            layer.forget(block)
    assert torch.equal(layer.step([(text, 149, 1)])[0][0], expected[149])


def test_what_lies_behind_a_shared_beginning_changes_nothing(library: Library) -> None:
    layer = Layer(library)
    texts = [layer.text(100)]
    expected = layer.chunks(texts[0], 2048)
    for _ in range(7):
        other = layer.text(100, texts[0].blocks[:6])
        for name in ("query", "key", "value"):
            setattr(other, name, getattr(texts[0], name))
        layer.step([(other, 96, 4)])
        layer.forget(other.blocks[-1], 2)
        texts.append(other)
    for (found,) in layer.step([(text, 97, 1) for text in texts]):
        assert torch.equal(found, expected[97])


def test_a_later_token_of_the_same_chunk_that_is_nan_changes_nothing(library: Library) -> None:
    layer = Layer(library)
    text = layer.text(100)
    expected = layer.chunks(text, 2048)
    layer.place(text)
    for name in ("query", "key", "value"):
        getattr(text, name)[70] = torch.nan
    found = layer.chunks(text, 2048)
    assert torch.equal(found[:70], expected[:70])
    assert found[70:].isnan().all()


# Blocks


def test_copied_blocks_hold_the_same(library: Library) -> None:
    layer = Layer(library)
    text = layer.text(100)
    expected = layer.chunks(text, 2048)
    before = text.blocks
    layer.place(text)
    layer.native.copy(list(zip(before, text.blocks, strict=True)))
    for block in before:
        layer.forget(block)
    assert torch.equal(layer.step([(text, 99, 1)])[0][0], expected[99])
    layer.native.copy([])
