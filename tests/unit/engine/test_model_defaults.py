"""A model's own generation_config.json as defaults of its jobs."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from common.errors import ConfigError
from common.params import CELLS, SamplingParams
from common.tokenizer import WordTokenizer
from tests.unit.engine.test_models import save
from tests.unit.engine.tiny import build
from worker.model_defaults import model_defaults
from worker.models import open_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(build("llama"), tmp_path_factory.mktemp("models") / "tiny")


def defaults(folder: Path, config: Any, **options: Any) -> dict[str, Any]:
    text = config if isinstance(config, str) else json.dumps({"eos_token_id": 2} | config)
    (folder / "generation_config.json").write_text(text)
    return open_model(str(folder), dtype="float32", device="cpu", slots=2, **options).card.defaults


def test_what_its_makers_chose_are_the_defaults(folder: Path) -> None:
    chosen = {
        "do_sample": True,
        "temperature": 0.7,
        "top_p": 0.8,
        "top_k": 20.0,
        "repetition_penalty": 1.05,
    }
    found = defaults(folder, chosen)
    assert found == {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.05}
    assert SamplingParams.model_validate(found).top_k == 20
    assert defaults(folder, chosen, defaults=False) == {}
    assert defaults(folder, {"max_length": 99}) == {}


def test_a_model_that_does_not_sample_is_greedy(folder: Path) -> None:
    assert defaults(folder, {"do_sample": False}) == {"temperature": 0.0}


def test_tokens_and_words_that_never_come(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = defaults(
            folder, {"suppress_tokens": [5, -1], "bad_words_ids": [[7], [8, 9], [8, 500]]}
        )
    assert found == {"logit_bias": {"5": -100.0, "7": -100.0}, "bad_words": ["w8 w9"]}
    assert "bad_words_ids" in caplog.text  # one of which no text stands for


def test_what_has_no_counterpart_is_named_in_the_log(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        defaults(folder, {"begin_suppress_tokens": [4], "num_beams": 4})
    assert "begin_suppress_tokens, num_beams" in caplog.text


def test_what_the_engine_lacks_is_no_default_and_named_in_the_log(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chosen = {"typical_p": 0.9, "no_repeat_ngram_size": 0, "top_k": 5, "suppress_tokens": [5]}
    (folder / "generation_config.json").write_text(json.dumps(chosen))
    honours = frozenset(CELLS) - {"typical_p", "no_repeat_ngram_size", "logit_bias"}
    with caplog.at_level(logging.WARNING):
        found = model_defaults(folder, WordTokenizer(), honours)
    assert found == {"top_k": 5}
    assert "typical_p (the engine has none)" in caplog.text
    assert "logit_bias (the engine has none)" in caplog.text
    assert "no_repeat_ngram_size" not in caplog.text  # 0 asks for nothing


@pytest.mark.parametrize(
    "config",
    [{"temperature": -1}, {"top_k": "many"}, {"repetition_penalty": 1e-39}, {"top_p": [1]}],
)
def test_values_that_no_job_may_have_are_refused_by_name(folder: Path, config: Any) -> None:
    with pytest.raises(ConfigError, match=f"generation_config.json.*{next(iter(config))}"):
        defaults(folder, config)
