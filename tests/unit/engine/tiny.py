"""Tiny random models of many families, a tokenizer for them, and helpers that run an engine to its
end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from common.generation import Finished, Request, Spelling
from common.params import SamplingParams
from worker.engine.batching import BatchingEngine
from worker.engine.protocol import Engine
from worker.engine.sampling.apply import apply_edits
from worker.engine.sampling.edits import Edits
from worker.engine.sampling.knobs import Knobs
from worker.engine.sampling.sampler import sample
from worker.engine.sampling.uniforms import uniforms

VOCABULARY = 96
BASE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,  # large, or all logits are alike and parity proves nothing
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "attention_dropout": 0.0,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}

LATENT = {
    "num_key_value_heads": 4,
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
}

# model type -> what its config has beyond BASE
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"sliding_window": 9},
    "qwen2": {},
    "qwen3": {},
    "qwen3_moe": EXPERTS,
    "mixtral": {"num_local_experts": 4},
    "gemma": {},
    "gemma2": {"sliding_window": 9, "query_pre_attn_scalar": 8, "attn_logit_softcapping": 3.0},
    "gemma3_text": {
        "sliding_window": 9,
        "query_pre_attn_scalar": 8,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "phi": {},
    "phi3": {},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256, "n_inner": 48},
    "gpt_neox": {},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32, "init_std": 0.2},
    "olmo2": {},
    "cohere": {},
    "cohere2": {"sliding_window": 9, "layer_types": ["sliding_attention", "full_attention"]},
    "granite": {},
    "smollm3": {},
    "starcoder2": {"sliding_window": 9},
    "stablelm": {},
    "gpt_oss": {
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "sliding_window": 9,
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
    },
    # Their routers read a layer's weight instead of calling the layer.
    "hunyuan_v1_moe": {"num_experts": 4, "moe_topk": 2},
    "longcat_flash": {
        **LATENT,
        "num_layers": 1,
        "n_routed_experts": 4,
        "zero_expert_num": 1,
        "moe_topk": 2,
        "ffn_hidden_size": 48,
        "expert_ffn_hidden_size": 24,
    },
}
# Those that cannot run packed.
UNPACKABLE: dict[str, dict[str, Any]] = {
    "qwen2_moe": {
        **EXPERTS,
        "use_sliding_window": True,
        "sliding_window": 100,
        "shared_expert_intermediate_size": 24,
    },
    "phimoe": {"sliding_window": 100, "num_local_experts": 4},
    "moshi": {"sliding_window": 100, "ffn_dim": 48},
    "doge": {"keep_window_size": 100},
    "minimax": {"layer_types": ["linear_attention", "full_attention"], "num_local_experts": 4},
    "llama4_text": {
        **EXPERTS,
        "num_local_experts": 4,
        "intermediate_size_mlp": 48,
        "attention_chunk_size": 128,
        "floor_scale": 20,
        "attn_scale": 0.5,
        "no_rope_layers": [1, 0],
    },
    "deepseek_v32": {
        **LATENT,
        **EXPERTS,
        "n_routed_experts": 4,
        "n_group": 1,
        "topk_group": 1,
        "index_topk": 8,
        "index_head_dim": 16,
        "index_n_heads": 2,
    },
    "rwkv": {"attention_hidden_size": 32},
}


def build(family: str, **changes: Any) -> Any:
    """A random model in float32, with its own attention."""
    torch.manual_seed(7)
    config = CONFIG_MAPPING[family](
        **{**BASE, **{**FAMILIES, **UNPACKABLE}.get(family, {}), **changes}
    )
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    for name, parameter in model.named_parameters():
        if "norm" not in name and parameter.dim() > 1 and parameter.std() < 0.1:
            torch.nn.init.normal_(parameter, std=0.2)
        if "sinks" in name:
            torch.nn.init.normal_(parameter)
    model.generation_config.eos_token_id = None  # `generate()` would fall back on it
    return model


class Letters:
    """One token, one character: id 10 is `a`; ids below 10 are special and decode to nothing."""

    def __init__(self, eos_ids: frozenset[int] = frozenset()):
        self.eos_ids = eos_ids

    def encode(self, text: str, special: bool = True) -> list[int]:
        return [ord(letter) - ord("a") + 10 for letter in text if letter != " "]

    def spell(self, token_id: int) -> Spelling:
        return (
            Spelling(token_id, self.step(token_id))
            if token_id >= 10
            else Spelling(token_id, f"<{token_id}>", b"")
        )

    def special_id(self, text: str) -> int | None:
        return int(text[1:-1]) if text.startswith("<") else None

    def stream(self) -> Letters:
        return self

    def step(self, token_id: int) -> str:
        return chr(token_id - 10 + ord("a")) if token_id >= 10 else ""

    def rest(self) -> str:
        return ""


def ask(
    id: str, ids: list[int], *, seed: int = 0, resume: list[list[int]] | None = None, **params: Any
) -> Request:
    return Request(id, "", ids, SamplingParams(**params), seed, resume)


def prompts(count: int, *, shortest: int = 1, longest: int = 40, seed: int = 0) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(shortest, longest + 1, (count,), generator=generator).tolist()
    return [
        torch.randint(3, VOCABULARY, (length,), generator=generator).tolist() for length in lengths
    ]


@contextmanager
def running(model: Any, *, detokenizer: Any = None, **settings: Any) -> Iterator[BatchingEngine]:
    defaults: dict[str, Any] = {"slots": 16, "context": 128, "kv_tokens": 1024, "block_size": 8}
    model.set_attn_implementation("eager")  # another engine may have had it before
    engine = BatchingEngine(model, detokenizer or Letters(), **{**defaults, **settings})
    engine.start()
    try:
        yield engine
    finally:
        engine.stop()


def run(engine: Engine, requests: list[Request]) -> dict[str, Finished]:
    for request in requests:
        engine.submit(request)
    return collect(engine, len(requests))


def collect(engine: Engine, count: int) -> dict[str, Finished]:
    finished: dict[str, Finished] = {}
    end = time.monotonic() + 300
    while len(finished) < count and time.monotonic() < end:
        for each in engine.collect(1.0):
            assert each.id not in finished, "a request ends exactly once"
            finished[each.id] = each
    assert len(finished) == count
    return finished


def tokens(finished: Finished, index: int = 0) -> list[int]:
    assert finished.error is None, finished.error
    return finished.outputs[index].token_ids


def assert_same(
    model: Any, request: Request, found: list[int], expected: list[int], index: int = 0
) -> None:
    """Two outputs of one request are equal, or first differ at a near-tie, which is printed.

    Float arithmetic depends on the batch in its last bits. So at the first difference, by teacher
    forcing, both tokens must be within 1e-3: of each other's logit if greedy, of the drawn number's
    place in the CDF otherwise.
    """
    if found == expected:
        return
    at = next((n for n, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b), None)
    assert at is not None, (
        f"{request.id}: one output is {len(found)} tokens, the other {len(expected)}"
    )
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")  # the engine's own attends only within a step
    with torch.inference_mode():
        whole = torch.tensor([request.prompt_ids + found[:at]])
        logits = model(input_ids=whole, use_cache=False).logits[0, -1:].float()
    model.set_attn_implementation(before)
    pair = {found[at], expected[at]}
    if request.params.temperature == 0:
        a, b = (logits[0, token].item() for token in pair)
        near = abs(a - b) < 1e-3
    else:
        knobs = Knobs.of([request.params])
        edits = Edits(request.params, request.prompt_ids, frozenset(), [])
        for token in found[:at]:
            edits.push(token)
        apply_edits(logits, [edits])
        drawn = uniforms(np.array([request.seed]), np.array([index]), np.array([at]))
        # The CDF is in token id order.
        first, last = (
            sample(logits, knobs, (drawn + shift).astype(np.float32)).item()
            for shift in (-1e-3, 1e-3)
        )
        near = first <= min(pair) and max(pair) <= last
    assert near, f"{request.id} differs at token {at}, {sorted(pair)}, and it is no near-tie"
    print(f"near-tie: {request.id} at token {at}, {sorted(pair)}")


def mixed(count: int = 16, seed: int = 3) -> list[Request]:
    """Requests that all decode differently."""
    settings: list[dict[str, Any]] = [
        {"temperature": 0.0},
        {"temperature": 1.3},
        {"temperature": 0.8, "top_k": 7},
        {"temperature": 1.0, "top_p": 0.7, "repetition_penalty": 1.3},
        {"temperature": 0.0, "presence_penalty": 1.0, "frequency_penalty": 0.5},
        {"temperature": 1.5, "min_p": 0.05, "no_repeat_ngram_size": 2},
        {"temperature": 1.0, "typical_p": 0.6},
        {"temperature": 1.0, "logit_bias": {20: 4.0, 21: -100.0}, "max_tokens": 9},
    ]
    return [
        ask(str(n), ids, seed=100 + n, **{"max_tokens": 20, **settings[n % len(settings)]})
        for n, ids in enumerate(prompts(count, seed=seed))
    ]


def alone(model: Any, requests: list[Request]) -> dict[str, list[int]]:
    with running(model) as engine:
        return {request.id: tokens(run(engine, [request])[request.id]) for request in requests}
