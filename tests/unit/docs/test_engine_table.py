"""What docs/api.md says that engines have is what they themselves say. The column of vLLM is
compared where vLLM is (`tests/vllm/test_engine_table.py`)."""

from __future__ import annotations

import pytest

from tests.support.engine_table import expected, resumes_seeded_rows, written
from worker.echo import EchoEngine
from worker.engine.batching import BatchingEngine
from worker.engine.generate import GenerateEngine
from worker.engine.protocol import EngineThread
from worker.model_features import OF_ENGINE


def test_every_engine_has_a_column() -> None:
    assert written().keys() == OF_ENGINE.keys()


@pytest.mark.parametrize(
    ("name", "engine"),
    [("native", BatchingEngine), ("generate", GenerateEngine), ("echo", EchoEngine)],
)
def test_a_column_says_what_the_engine_says(name: str, engine: type[EngineThread]) -> None:
    assert list(written()[name].items()) == list(expected(name, engine).items())
    assert resumes_seeded_rows(engine) == ("seeded_resume" in OF_ENGINE[name])
