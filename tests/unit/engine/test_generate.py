"""Models that cannot run packed are found at load, and run on the generate engine with the same
methods."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForSeq2SeqLM, GenerationConfig

from tests.unit.engine.tiny import BASE, Letters, ask, build, prompts, run, running, tokens
from worker.engine.generate import GenerateEngine
from worker.engine.model.packable import NotPackable, probe
from worker.engine.model.padding import together

TINY_T5 = {
    "vocab_size": 96,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": 2,
    "num_heads": 4,
    "initializer_factor": 4.0,
}
TINY_BART = {
    "vocab_size": 96,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "init_std": 0.3,
}
IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 0}


def build_seq2seq(family: str, **changes: Any) -> Any:
    torch.manual_seed(3)
    tiny = {"t5": TINY_T5, "bart": TINY_BART}[family]
    config = CONFIG_MAPPING[family](**{**tiny, **IDS, **changes})
    return AutoModelForSeq2SeqLM.from_config(config, dtype=torch.float32).eval()


@contextmanager
def generating(model: Any, *, slots: int = 8) -> Iterator[GenerateEngine]:
    engine = GenerateEngine(model, Letters(frozenset({2})), slots=slots, context=128)
    engine.start()
    try:
        yield engine
    finally:
        engine.stop()


@pytest.mark.parametrize(
    ("family", "changes", "why"),
    [
        ("bloom", {"n_layer": 2, "n_head": 4}, "position ids"),
        (
            "xglm",
            {"d_model": 32, "num_layers": 2, "attention_heads": 4, "ffn_dim": 48},
            "layers call the attention",
        ),
        ("mpt", {"d_model": 32, "n_layers": 2, "n_heads": 4}, "position ids"),
        ("lfm2", {"layer_types": ["conv", "full_attention"]}, "layers of kind conv"),
        (
            "llama",
            {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}},
            "longest row",
        ),
        ("qwen2_moe", {}, "1 of its layers have a sliding window that only their mask knows"),
        ("phimoe", {}, "2 of its layers have a sliding window that only their mask knows"),
        ("moshi", {}, "2 of its layers have a sliding window that only their mask knows"),
        ("doge", {}, "past its keep_window_size"),
    ],
)
def test_the_probe_refuses_what_would_be_silently_wrong(
    family: str, changes: dict[str, Any], why: str
) -> None:
    model = build(family, **changes)
    before = model.config._attn_implementation
    with pytest.raises(NotPackable, match=why):
        probe(model)
    assert model.config._attn_implementation == before


def test_the_probe_refuses_attention_that_mixes_rows() -> None:
    model = build("llama")
    layer = model.model.layers[0].mlp
    forward = layer.forward
    # Looks at its neighbours.
    layer.forward = lambda hidden: forward(hidden) + hidden.mean(1, keepdim=True)
    with pytest.raises(NotPackable, match="do not compute what separate rows do"):
        probe(model)


@pytest.mark.parametrize("family", ["qwen2_moe", "phimoe"])
def test_a_window_is_tried_out_however_long_it_is(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.engine.model.packable._unseen_window", lambda *_: None)
    with pytest.raises(NotPackable, match="past its sliding_window"):
        probe(build(family))


@pytest.mark.parametrize("family", ["qwen2_moe", "phimoe"])
def test_a_window_that_no_row_reaches_is_none(family: str) -> None:
    model = build(family, sliding_window=BASE["max_position_embeddings"])
    assert all(
        shape.window in (None, model.config.sliding_window) for shape in probe(model).values()
    )


@pytest.mark.parametrize("family", ["mistral", "gemma3_text", "gpt_oss"])
def test_trying_a_window_out_leaves_it_as_it_was(family: str) -> None:
    model = build(family)
    shapes = probe(model)
    assert model.config.sliding_window == shapes[0].window == 9
    own = [
        module.sliding_window
        for module in model.modules()
        if getattr(module, "sliding_window", None) is not None
    ]
    assert set(own) <= {9}


def test_both_engines_say_the_same() -> None:
    asked = prompts(5, longest=20)
    settings: list[dict[str, Any]] = [
        {"temperature": 0.0},
        {"seed": 4},
        {"top_k": 5, "n": 2},
        {"temperature": 0.0, "repetition_penalty": 1.5},
        {"top_p": 0.8, "logprobs": 1},
    ]
    requests = [
        ask(str(n), ids, **{"max_tokens": 12, **each})
        for n, (ids, each) in enumerate(zip(asked, settings, strict=True))
    ]
    with generating(build("llama")) as engine:
        batched = run(engine, requests)
    with running(build("llama"), detokenizer=Letters(frozenset({2}))) as engine:
        packed = run(engine, requests)
    for id in packed:
        assert [each.token_ids for each in batched[id].outputs] == [
            each.token_ids for each in packed[id].outputs
        ]
        assert [each.text for each in batched[id].outputs] == [
            each.text for each in packed[id].outputs
        ]


@pytest.mark.parametrize("family", ["t5", "bart"])
def test_seq2seq_models_generate_what_transformers_would(family: str) -> None:
    asked = prompts(5, shortest=3, longest=20)
    model = build_seq2seq(family)
    # A text cut off by max_tokens ends where it is cut.
    model.generation_config.forced_eos_token_id = None
    config = GenerationConfig(max_new_tokens=10, do_sample=False, **IDS)
    with torch.inference_mode():
        expected = [
            model.generate(torch.tensor([ids]), generation_config=config)[0, 1:].tolist()
            for ids in asked
        ]
    with generating(model) as engine:
        found = run(
            engine,
            [ask(str(n), ids, temperature=0.0, max_tokens=10) for n, ids in enumerate(asked)],
        )
    assert [tokens(found[str(n)]) for n in range(5)] == expected


@pytest.mark.parametrize(
    ("family", "changes", "rows"),
    [
        ("lfm2", {"layer_types": ["conv", "full_attention"]}, "any"),
        ("phimoe", {}, "any"),
        ("minimax", {}, "equal lengths"),
        ("doge", {}, "equal lengths"),
        ("llama4_text", {}, "equal lengths"),
        ("deepseek_v32", {}, "equal lengths"),
        (
            "llama",
            {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}},
            "equal lengths",
        ),
        ("rwkv", {}, "none"),
    ],
)
def test_a_row_says_among_others_what_it_says_alone(
    family: str, changes: dict[str, Any], rows: str
) -> None:
    model = build(family, **changes)
    asked = prompts(3, shortest=4, longest=40) + prompts(2, shortest=24, longest=24)
    requests = [ask(str(n), ids, temperature=0.0, max_tokens=8) for n, ids in enumerate(asked)]
    with generating(model, slots=1) as engine:
        alone = run(engine, requests)
    with generating(model) as engine:
        found = run(engine, requests)
        assert engine._together == rows
    assert {id: tokens(each) for id, each in alone.items()} == {
        id: tokens(each) for id, each in found.items()
    }


def test_what_cannot_be_tried_runs_alone() -> None:
    model = build("bloom", n_layer=2, n_head=4)
    forward = model.forward

    def one_row_only(input_ids: torch.Tensor, **others: Any) -> Any:
        if len(input_ids) > 1:
            raise ValueError("one row only")
        return forward(input_ids=input_ids, **others)

    model.forward = one_row_only
    assert together(model) == "none"


def test_a_step_is_as_old_as_its_last_layer_so_that_a_long_prefill_does_not_hang() -> None:
    model = build("llama")
    with generating(model) as engine:
        seen: list[float] = []
        for layer in model.model.layers:
            layer.register_forward_hook(lambda *_: seen.append(engine._step_began or 0.0))
        run(engine, [ask("a", [5, 6, 7], temperature=0.0, max_tokens=1)])
        assert len(seen) == len(model.model.layers) and seen == sorted(set(seen))


def test_an_engine_that_computes_whole_batches_refuses_to_score() -> None:
    with generating(build_seq2seq("t5")) as engine:
        request = ask("a", [5, 6])
        request.continuations = [[7, 8]]
        found = run(engine, [request])["a"]
    assert found.error and found.error[0] == "unsupported"


def test_what_the_engine_lacks_is_refused_and_other_requests_run() -> None:
    assert "prompt_logprobs" not in GenerateEngine.honours
    with generating(build("llama")) as engine:
        asked = [ask("a", [5, 6], prompt_logprobs=0), ask("b", [5, 6], max_tokens=2)]
        found = run(engine, asked)
        assert engine.room() == engine.slots
    assert found["a"].error == ("unsupported", "the engine has no prompt_logprobs")
    assert not found["b"].error and found["b"].outputs
