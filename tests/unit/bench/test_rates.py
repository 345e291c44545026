"""Rates, ratios, shares of the machine and gaps between steps, from seconds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bench.lib.mixes import Mix, one_prompt, shared_instruction
from bench.lib.outside import Computation, outside
from bench.lib.rates import rates
from bench.lib.shares import Size, size_of
from bench.lib.turns import Contestant, take_turns


def contestant(rows: int, new_tokens: int = 10) -> Contestant[Mix]:
    return Contestant(lambda _: 0.0, Mix([[1, 2]] * rows, new_tokens))


def test_rates_are_generated_tokens_per_second_and_ratios_are_ours_over_theirs() -> None:
    field = {"promptmill": contestant(4), "vllm": contestant(4), "shared": contestant(2)}
    found = rates(field, {"promptmill": 2.0, "vllm": 4.0, "shared": 1.0})
    assert found["tokens_per_s"]["promptmill"] == 20 and found["tokens_per_s"]["vllm"] == 10
    assert found["ratio"]["vllm"] == 2 and found["shared_prefix"]["promptmill"] == 20


def test_a_peer_with_fewer_rows_is_compared_by_its_rate() -> None:
    field = {"promptmill": contestant(8), "static": contestant(2)}
    assert rates(field, {"promptmill": 2.0, "static": 1.0})["ratio"]["static"] == 2


def test_what_did_not_run_is_null() -> None:
    found = rates({"promptmill": contestant(4)}, {"promptmill": 2.0})
    assert found["tokens_per_s"]["promptmill_int8"] is None
    assert found["ratio"]["int8_over_bf16"] is None and found["ratio"]["single_vllm"] is None


def test_useful_work_is_two_operations_a_parameter_and_token() -> None:
    mix = Mix([[1, 2, 3], [4]], 5)  # 4 prompt tokens, 10 generated
    assert Size(layers=100, head=7).useful_flops(mix) == 2 * (4 * 100 + 10 * 107)
    assert Size(layers=100, head=7).bytes_read(Mix([[1, 2]], 5), 2) == 5 * 2 * 107


@pytest.mark.parametrize("tied", [True, False])
def test_a_table_of_embeddings_is_no_work_unless_it_is_the_head(tmp_path: Path, tied: bool) -> None:
    weights = {"embed": torch.zeros(10, 4), "layer": torch.zeros(3, 4)}
    if not tied:
        weights["head"] = torch.zeros(10, 4)
    save_file(weights, tmp_path / "model.safetensors")
    config = f'{{"vocab_size": 10, "hidden_size": 4, "tie_word_embeddings": {str(tied).lower()}}}'
    (tmp_path / "config.json").write_text(config)
    assert size_of(tmp_path) == Size(layers=12, head=40)


def test_the_time_outside_is_that_between_decode_steps_of_all_rows() -> None:
    calls = [
        Computation(0.0, 1.0, 0),  # a step with prompts: what follows it is not counted
        Computation(9.0, 10.0, 2),
        Computation(10.5, 11.0, 2),
        Computation(11.3, 12.0, 2),
        Computation(20.0, 21.0, 1),  # a row has ended
    ]
    assert outside(calls, 2) == pytest.approx(0.4)
    with pytest.raises(ValueError, match="no two successive steps of 1"):
        outside(calls, 1)


def test_contestants_take_turns_after_one_short_round() -> None:
    ran: list[tuple[str, int]] = []
    took = iter([9.0, 9.0, 10.0, 1.0, 5.0, 20.0, 30.0, 2.0])

    def run(name: str, mix: Mix) -> float:
        ran.append((name, mix.new_tokens))
        return next(took)

    field = {
        name: Contestant(lambda mix, name=name: run(name, mix), Mix([[1, 2]], 10))  # type: ignore[misc]
        for name in ("ours", "theirs")
    }
    rounds: list[int] = []
    found = take_turns(field, 3, each_round=lambda: rounds.append(len(ran)))
    one_way = [("ours", 10), ("theirs", 10)]
    assert ran == [("ours", 4), ("theirs", 4), *one_way[::-1], *one_way, *one_way[::-1]]
    assert rounds == [0, 2, 4, 6] and found == {"ours": 2.0, "theirs": 20.0}


def test_mixes_are_the_same_each_time() -> None:
    assert one_prompt(1024, 49152) == one_prompt(1024, 49152)
    shared = shared_instruction(4, 49152)
    assert shared.first(2).prompts == shared.prompts[:2] and shared.first(2).generated == 128
