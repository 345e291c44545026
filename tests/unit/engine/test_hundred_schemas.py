"""The law of structured output: whatever a model writes under a schema is valid, or was cut off.

A model of random weights walks odd corners: escapes, surrogates, parts of characters, bounds of
numbers, orders of properties that nobody likes.
"""

from __future__ import annotations

import pytest

from common.tokenizer import JsonTokenizer
from tests.support.schema_rows import CUT_OFF, fault, schema_rows
from tests.support.tokenizers import byte_fallback, for_json
from tests.unit.engine.guided import guided, json_model
from tests.unit.engine.tiny import run

PROMPTS = [[30 + n % 50, 31 + n % 7] for n in range(350)]


@pytest.mark.timeout(400)  # seconds: a thousand texts, beside whatever else runs
@pytest.mark.parametrize(
    ("tokenizer", "rows"), [(for_json(), 1000), (byte_fallback(), 200)], ids=["bytes", "fallback"]
)
def test_a_thousand_rows_of_a_hundred_schemas_are_valid_or_cut_off(
    tokenizer: JsonTokenizer, rows: int
) -> None:
    requests = schema_rows(rows, PROMPTS, max_tokens=1000)
    sizes = {"slots": 64, "context": 1024, "kv_tokens": 64 * 1024}
    with guided(json_model(), tokenizer, **sizes) as engine:
        found = run(engine, requests)
    bound = [request for request in requests if request.grammar]
    faults = {each.id: fault(each, found[each.id]) for each in bound}
    assert {id: why for id, why in faults.items() if why not in (None, CUT_OFF)} == {}
    assert sum(why is None for why in faults.values()) >= 0.95 * len(bound)
    free = [found[each.id] for each in requests if not each.grammar]
    assert len(free) >= rows // 6 and all(each.error is None for each in free)
