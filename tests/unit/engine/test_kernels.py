"""The fast ways of computing say what the plain ones say."""

from __future__ import annotations

import pytest
import torch

from worker.engine import attention, kernels
from worker.engine.kv import PrefillRow


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tokens", [1, 7, 300])
def test_the_norm_is_the_norm_for_few_and_for_many_tokens(tokens: int, dtype: torch.dtype) -> None:
    torch.manual_seed(tokens)
    x = torch.randn(tokens, 576).to(dtype) * 3
    weight = torch.randn(576).to(dtype)
    expected = torch.rms_norm(x.double(), (576,), weight.double(), 1e-5)
    found = kernels.rms_norm(x, torch.cat((weight, weight)), 1e-5)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5 if dtype == torch.float32 else 1e-2, atol=1e-5)


@pytest.mark.parametrize("products", [0, attention.PRODUCT_SCORES])
@pytest.mark.parametrize("window", [None, 20])
@pytest.mark.parametrize("start", [0, 33])
def test_a_chunk_sees_what_comes_before_it(
    start: int, window: int | None, products: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "PRODUCT_SCORES", products)
    torch.manual_seed(start)
    count, total = 25, start + 25
    query = torch.randn(6, count, 32).bfloat16()
    key, value = torch.randn(2, 2, total, 32).bfloat16().unbind()
    row = PrefillRow(0, count, start, torch.arange(8))
    found = attention._prefill(row, query, key, value, attention.How(0.2, window))
    distance = torch.arange(start, total)[:, None] - torch.arange(total)
    hidden = (distance < 0) | (distance >= (window or total))
    keys, values = key.double().repeat_interleave(3, 0), value.double().repeat_interleave(3, 0)
    scores = (query.double() @ keys.transpose(1, 2) * 0.2).masked_fill(hidden, -torch.inf)
    torch.testing.assert_close(found.double(), scores.softmax(-1) @ values, rtol=2e-2, atol=2e-2)
