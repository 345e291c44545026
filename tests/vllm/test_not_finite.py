"""Rows whose logits are NaN on engine vllm, and many seeded rows whose prompts fill its steps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from common.errors import ConfigError
from common.generation import Request
from tests.unit.engine.guided import SCHEMA, grammar
from tests.vllm.lora_folders import lora_folder
from tests.vllm.running import request, run, tokens
from worker.engine.vllm.lora import WEIGHTS, Lora, load_loras
from worker.engine.vllm.options import VllmOptions
from worker.models import OpenedModel, open_model

pytestmark = pytest.mark.timeout(400)  # vLLM takes its time to start

CONTEXT = 512  # tokens, of the tiny model


def spoiled(folder: Path, value: float) -> Path:
    """An adapter all of whose numbers are this one."""
    from safetensors.torch import load_file, save_file

    file = folder / WEIGHTS
    save_file({name: each.fill_(value) for name, each in load_file(file).items()}, file)
    return folder


@pytest.fixture(scope="module")
def model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenedModel]:
    """Steps have as many tokens as one prompt may have. With the adapter `huge`, whose weights are
    finite, logits are not."""
    place = tmp_path_factory.mktemp("adapters")
    args = {"enforce_eager": True, "max_num_batched_tokens": CONTEXT}
    opened = open_model(
        str(tiny_model),
        engine="vllm",
        dtype="float32",
        slots=8,
        adapters={
            "huge": spoiled(lora_folder(place / "huge", tiny_model, seed=1), 1e37),
            "law": lora_folder(place / "law", tiny_model, seed=2),
        },
        vllm=VllmOptions(args=args),
    )
    opened.engine.start()
    yield opened
    opened.engine.stop()


def with_adapter(name: str, ids: list[int], **params: Any) -> Request:
    asked = request(ids, **params)
    asked.adapter = name
    return asked


def test_seeded_rows_whose_prompts_fill_several_steps_are_as_alone(model: OpenedModel) -> None:
    def asked(row: int) -> Request:
        return request([row + 1] * 300, seed=row, temperature=1, max_tokens=4, ignore_eos=True)

    together = run(model.engine, *map(asked, range(8)), seconds=120)  # no prompt is known yet
    assert [each.error for each in together] == [None] * 8
    alone = [run(model.engine, asked(row))[0] for row in range(8)]
    assert [tokens(each) for each in together] == [tokens(each) for each in alone]


def test_a_row_of_nan_fails_alone_and_leaves_nothing_behind(model: OpenedModel) -> None:
    long = {"max_tokens": 12, "ignore_eos": True}

    def asked() -> list[Request]:
        return [request([row + 5] * (3 + row), **long) for row in range(6)]

    expected = [tokens(each) for each in run(model.engine, *asked())]
    # The next row gets the place of this one, and has fewer tokens: what is behind them is read.
    (failed,) = run(model.engine, with_adapter("huge", [7] * 40, **long))
    assert failed.error and failed.error[0] == "engine_error" and not failed.outputs
    assert "not finite" in failed.error[1]
    assert [tokens(each) for each in run(model.engine, *asked())] == expected


def test_rows_beside_one_of_nan_are_computed_again_and_write_the_same(model: OpenedModel) -> None:
    long = {"max_tokens": 60, "ignore_eos": True}

    def asked() -> list[Request]:
        drawn = {"temperature": 1, "seed": 3}
        rows = [request([row + 5] * (40 + 9 * row), **long, **drawn) for row in range(3)]
        bound = request([11] * 20, max_tokens=60, grammar=grammar(**SCHEMA))
        return [*rows, request([9] * 50, **long), with_adapter("law", [9] * 50, **long), bound]

    expected = [tokens(each) for each in run(model.engine, *asked())]
    for place in range(7):
        rows = asked()
        rows.insert(place, with_adapter("huge", [7] * (100 + place), **long))
        answers = run(model.engine, *rows)
        assert (answers.pop(place).error or [""])[0] == "engine_error"
        assert [each.error for each in answers] == [None] * 6
        assert [tokens(each) for each in answers] == expected


def test_a_log_probability_that_is_nan_fails_its_row(model: OpenedModel) -> None:
    sequence = SimpleNamespace(constraint=None, request=request([1], logprobs=0))
    for logprob, fault in ((float("nan"), "not_finite"), (-0.5, None)):
        found = {7: SimpleNamespace(logprob=logprob)}
        assert cast(Any, model.engine)._drawn(sequence, 7, found).fault == fault


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_an_adapter_that_is_not_finite_ends_the_start(
    tiny_model: Path, tmp_path: Path, value: float
) -> None:
    folder = spoiled(lora_folder(tmp_path / "bad", tiny_model, seed=1), value)
    with pytest.raises(ConfigError, match=r"adapter_model.safetensors has NaN or infinity in"):
        load_loras(None, [Lora("bad", folder, "0" * 64, 8)])


@pytest.mark.parametrize("name", ["enable_chunked_prefill", "long_prefill_token_threshold"])
def test_on_a_cpu_prompts_are_computed_whole(tiny_model: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is for GPUs"):
        open_model(str(tiny_model), engine="vllm", vllm=VllmOptions(args={name: 1}))
