"""The bookkeeping of the CUDA path, on a CPU: pages, block tables and recorded steps, with plain
arithmetic in place of the kernel.

`bench/gpu.sh` checks on a GPU what only a GPU can show: the kernel itself and the recording.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.unit.engine.test_parity import oracle
from tests.unit.engine.tiny import ask, build, prompts, run, running, tokens
from worker.engine.attention import flash
from worker.engine.attention.backend import LayerShape
from worker.engine.model import compose, recorded
from worker.engine.model.selfcheck import ONE_OPERATION

PAGE = 8


def plain_varlen(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    starts: torch.Tensor,
    _key_starts: torch.Tensor,
    longest: int,
    _room: int,
    *,
    scale: float,
    window_size: tuple[int, int],
    enable_gqa: bool,
    seqused_k: torch.Tensor,
    block_table: torch.Tensor,
    num_splits: int,
) -> torch.Tensor:
    """`torch.nn.attention.varlen.varlen_attn` as its documentation describes it, row by row."""
    # Without a mask the kernel computes the query heads of a KV head together.
    assert window_size[1] == 0 or (longest == 1 and window_size == (-1, -1))
    assert num_splits == 1 and enable_gqa == (query.shape[1] != key.shape[2])
    out = torch.empty_like(query)
    for row, used in enumerate(seqused_k.tolist()):
        begin, end = starts[row : row + 2].tolist()
        assert end - begin <= longest
        keys, values = (each[block_table[row].long()].flatten(0, 1)[:used] for each in (key, value))
        window = None if window_size[0] < 0 else window_size[0] + 1
        unscaled = query[begin:end] * (scale * query.shape[-1] ** 0.5)
        out[begin:end] = flash._plainly(unscaled, keys, values, window)
    return out


@pytest.fixture
def on_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flash, "varlen_attn", plain_varlen)
    monkeypatch.setattr(compose, "pages_work", lambda *_: True)
    monkeypatch.setattr(flash, "PAGE", PAGE)


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen3_moe", "gpt2", "opt", "gemma3_text"])
def test_pages_and_recorded_steps_say_what_generate_says(family: str, on_pages: None) -> None:
    model = build(family)
    asked = prompts(6)
    expected = [oracle(model, ids, 16) for ids in asked]
    with running(model, token_budget=24) as engine:
        assert engine.parts["attention"] == "flash" and engine.parts["recorded_sizes"]
        found = run(
            engine,
            [ask(str(n), ids, temperature=0.0, max_tokens=16) for n, ids in enumerate(asked)],
        )
        assert engine.scheduler.pool.free == engine.scheduler.pool.count
    assert [tokens(found[str(n)]) for n in range(len(asked))] == expected


def test_rows_preempted_on_pages_finish_with_the_same_text(on_pages: None) -> None:
    model = build("llama")
    requests = [ask(str(n), ids, seed=n, max_tokens=20) for n, ids in enumerate(prompts(12))]
    with running(model) as engine:
        expected = run(engine, requests)
    with running(model, kv_tokens=160, context=96) as engine:
        found = run(engine, requests)
        assert engine.scheduler.preemptions > 0
    assert {id: tokens(each) for id, each in found.items()} == {
        id: tokens(each) for id, each in expected.items()
    }


def test_a_model_that_cannot_be_recorded_runs_unrecorded(
    on_pages: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("this work depends on its data")

    monkeypatch.setattr(recorded, "Recorded", refuse)
    model = build("llama")
    expected = oracle(model, [5, 6, 7], 8)
    with running(model) as engine:
        found = run(engine, [ask("a", [5, 6, 7], temperature=0.0, max_tokens=8)])
    assert tokens(found["a"]) == expected


SHAPE = LayerShape(heads=2, key_width=16, value_width=16)


def test_the_kernel_is_compared_with_plain_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(flash, "varlen_attn", plain_varlen)
    assert flash.parity(SHAPE, torch.float32, cpu) < 1e-5

    def one_position_short(*arguments: Any, seqused_k: torch.Tensor, **others: Any) -> torch.Tensor:
        return plain_varlen(*arguments, seqused_k=(seqused_k - 1).clamp(min=1), **others)

    monkeypatch.setattr(flash, "varlen_attn", one_position_short)
    assert not flash.parity(SHAPE, torch.float32, cpu) < ONE_OPERATION


def test_a_kernel_that_leaves_a_row_unwritten_is_not_trusted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def without_the_last(*arguments: Any, **others: Any) -> torch.Tensor:
        out = plain_varlen(*arguments, **others)
        out[-1] = torch.nan
        return out

    monkeypatch.setattr(flash, "varlen_attn", without_the_last)
    assert not flash.parity(SHAPE, torch.float32, torch.device("cpu")) < ONE_OPERATION


@pytest.mark.parametrize(
    ("counts", "window", "asked"),
    [([1] * 5, None, (-1, -1)), ([1] * 5, 64, (63, 0)), ([1, 1, 1, 20, 40], None, (-1, 0))],
)
def test_decode_rows_alone_ask_for_no_mask(
    counts: list[int],
    window: int | None,
    asked: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []

    def noting(*arguments: Any, window_size: tuple[int, int], **others: Any) -> torch.Tensor:
        seen.append(window_size)
        return plain_varlen(*arguments, window_size=window_size, **others)

    monkeypatch.setattr(flash, "varlen_attn", noting)
    found = flash._parity(SHAPE, counts, window, torch.float32, torch.device("cpu"))
    assert found.item() < 1e-5 and seen == [asked]


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        (LayerShape(2, 16, 16, plain=False), torch.bfloat16),
        (LayerShape(2, 16, 24), torch.bfloat16),
        (SHAPE, torch.float32),
        (SHAPE, torch.bfloat16),  # no CUDA device
    ],
)
def test_what_the_kernel_cannot_serve_gathers(shape: LayerShape, dtype: torch.dtype) -> None:
    assert not flash.serves({0: shape}, dtype, torch.device("cpu"))


@pytest.mark.parametrize("most", [1, 3, 32, 100, 256, 512])
def test_recorded_sizes_reach_up_to_the_slots(most: int) -> None:
    sizes = recorded.sizes(most)
    assert sizes == sorted(set(sizes)) and sizes[0] == 1 and sizes[-1] == most
