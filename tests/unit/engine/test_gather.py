"""The gathering attention, against plain arithmetic in float64."""

from __future__ import annotations

import pytest
import torch

from worker.engine.attention import gather, grouping
from worker.engine.attention.backend import How, LayerCache, LayerShape, copy_blocks, lay_out

ROWS = [  # (blocks, first token, how many tokens) with blocks of 4
    ([7], 0, 3),
    ([2, 9, 4, 5, 11, 12, 13, 14, 15, 16], 21, 17),
    ([1, 3, 6], 0, 12),
    ([17, 18, 19], 9, 1),
    ([20, 21, 22, 23, 24], 6, 11),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("long", [0, 150, 10**9])
@pytest.mark.parametrize("window", [None, 5])
def test_every_token_sees_what_comes_before_it_in_its_row(
    window: int | None, long: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather, "LONG", long)
    monkeypatch.setattr(gather, "LONG_EXACT", long)
    monkeypatch.setattr(grouping, "GROUP_TOKENS", 0)
    torch.manual_seed(1)
    cpu = torch.device("cpu")
    backend = gather.Gather({0: LayerShape(2, 32, 32)}, blocks=30, size=4, dtype=dtype, device=cpu)
    caches = backend.caches
    caches[0].keys.normal_()
    caches[0].values.normal_()
    rows = [(blocks, start) for blocks, start, _ in ROWS]
    step = lay_out([[0] * count for *_, count in ROWS], rows, [], size=4, device=cpu)
    attention = backend.begin(step)
    tokens = sum(count for *_, count in ROWS)
    query = torch.randn(tokens, 6, 32).to(dtype)
    key, value = torch.randn(2, tokens, 2, 32).to(dtype).unbind()
    found = attention.attend(0, query, key, value, How(0.2, window)).double()
    assert len(attention.long) == {0: 4, 150: 2, 10**9: 0}[long]

    place = 0
    for blocks, start, count in ROWS:
        own = slice(place, place + count)
        keys, values = (
            cache.view(30, 2, 4, 32)[torch.tensor(blocks)]
            .transpose(0, 1)
            .reshape(2, -1, 32)[:, : start + count]
            .double()
            for cache in (caches[0].keys, caches[0].values)
        )
        assert torch.equal(keys[:, start:].transpose(0, 1), key[own].double())
        distance = torch.arange(start, start + count)[:, None] - torch.arange(start + count)
        hidden = (distance < 0) | (distance >= (window or start + count))
        scores = (
            query[own].double().transpose(0, 1) @ keys.repeat_interleave(3, 0).transpose(1, 2) * 0.2
        )
        expected = scores.masked_fill(hidden, -torch.inf).softmax(-1) @ values.repeat_interleave(
            3, 0
        )
        close = 1e-5 if dtype == torch.float32 else 2e-2
        torch.testing.assert_close(found[own].transpose(0, 1), expected, rtol=close, atol=close)
        place += count


@pytest.mark.parametrize("by_heads", [True, False])
def test_blocks_are_copied_whole_with_all_their_heads(by_heads: bool) -> None:
    shape = LayerShape(heads=2, key_width=3, value_width=5)
    rows = (4 * 2,) if by_heads else (4, 2)
    cache = LayerCache(shape, torch.randn(*rows, 6, 3), torch.randn(*rows, 6, 5))
    keys, values = (each.clone().view(4, -1) for each in (cache.keys, cache.values))
    copy_blocks([cache], [(0, 3), (2, 1)], by_heads)
    for held, before in ((cache.keys, keys), (cache.values, values)):
        assert held.view(4, -1).equal(before[[0, 2, 2, 0]])
