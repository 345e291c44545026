"""Two processes, each with half of the layers: vLLM is then a step ahead of our books, and texts
are what they are in one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.engine.guided import SCHEMA, grammar, thinks
from tests.vllm.running import EDITS, opened, request, run
from worker.engine.vllm.options import VllmOptions

pytestmark = pytest.mark.timeout(400)  # vLLM takes its time to start

PROMPT = [342, 351, 328, 341, 343]


def asked() -> list[Any]:
    letters = [y for length in range(1, 5) for y in ("y" * length, " " + "y" * length)]
    none_left: dict[str, Any] = {"bad_words": letters, "logit_bias": {70: 5.0}}
    thoughts = thinks(open=True, max_tokens=4)
    return [
        *(request(PROMPT, **given) for given in EDITS.values()),
        request(PROMPT, grammar=grammar(**SCHEMA), max_tokens=200),
        request(PROMPT, grammar=grammar(**SCHEMA), thinking=thoughts, max_tokens=200),
        request(PROMPT, grammar=grammar(choice=["yes", "no"])),
        request(PROMPT, grammar=grammar(regex="a?yyyy"), **none_left),
        request(PROMPT, stop="e", max_tokens=60),
    ]


def test_texts_and_errors_are_those_of_our_own_engine(tiny_model: Path) -> None:
    two = VllmOptions(pipeline_parallel=2)
    with opened(tiny_model, engine="vllm", vllm=two) as split:
        made = run(split.engine, *asked())
    with opened(tiny_model, engine="native", kernels="torch") as own:
        expected = run(own.engine, *asked())
    for mine, theirs in zip(made, expected, strict=True):
        assert mine.outputs == theirs.outputs
        assert mine.error == theirs.error
