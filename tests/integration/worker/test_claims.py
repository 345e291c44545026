"""What a worker makes of the items it was given."""

from __future__ import annotations

from common.errors import InvalidRequest
from common.tokenizer import WordTokenizer
from tests.integration.store.conftest import Mill, card
from worker.claims import ClaimReader


def test_items_made_for_other_weights_are_refused_and_not_run_on_these(redis_url: str) -> None:
    mill = Mill(redis_url)
    mill.submit(2)
    (run,) = mill.worker().exchange([], 8).runs
    same = ClaimReader(mill.store, WordTokenizer(), card())
    other = ClaimReader(mill.store, WordTokenizer(), card().model_copy(update={"digest": "other"}))
    assert not any(isinstance(request, InvalidRequest) for _, request in same.read(run, 0))
    assert [request.code for _, request in other.read(run, 0)] == ["model_replaced"] * 2  # type: ignore[union-attr]
