"""Structured output on vLLM: its masks are filled by our own constraints, so that texts are valid,
bounded, end at once, and may begin with thoughts, as on our own engine.

vLLM has one backend for structured output. Ours takes the place of its own: what vLLM believes to
be a grammar is the key of a constraint that was left here for it.
"""

from __future__ import annotations

import json
import time
from typing import Any

import torch
from vllm.v1.structured_output.backend_types import (
    StructuredOutputBackend,
    StructuredOutputGrammar,
    StructuredOutputOptions,
)

from worker.engine.sampling.grammar import Constraint
from worker.engine.scheduling.drawn import Fault


class Guided:
    """What binds the sequences that vLLM has, by their keys. Each is a copy of the books' own, as
    vLLM may be a token ahead of them."""

    def __init__(self) -> None:
        self._grammars: dict[str, _Grammar] = {}

    def add(self, key: str, constraint: Constraint) -> None:
        """Bind a sequence from where it is, before vLLM gets it."""
        self._grammars[key] = _Grammar(constraint.copy())

    def forget(self, key: str) -> None:
        self._grammars.pop(key, None)

    def of(self, key: str) -> StructuredOutputGrammar:
        return self._grammars[key]

    def fault(self, key: str, bound: Constraint, token: int) -> Fault | None:
        """Why a token that vLLM drew for a sequence cannot be taken; `bound` is the books' own."""
        if self._grammars[key].is_broken:
            return "grammar_too_complex"
        return None if bound.allows(token) else "no_token_left"

    def serve(self, vllm: Any) -> None:
        """Fill the masks of this engine from now on."""
        manager = vllm.engine_core.engine_core.structured_output_manager
        manager.backend = _Backend(
            vllm_config=vllm.vllm_config,
            tokenizer=None,
            vocab_size=vllm.model_config.get_vocab_size(),
            guided=self,
        )
        # Nothing is compiled there, so it need not wait for another thread.
        manager._use_async_grammar_compilation = False


class _Backend(StructuredOutputBackend):
    def __init__(self, guided: Guided, **about: Any):
        super().__init__(**about)
        self._guided = guided

    def compile_grammar(
        self, _type: StructuredOutputOptions, grammar_spec: str, **_: Any
    ) -> StructuredOutputGrammar:
        (key,) = json.loads(grammar_spec)
        return self._guided.of(key)

    def allocate_token_bitmask(self, max_num_seqs: int) -> torch.Tensor:
        return torch.full((max_num_seqs, -(-self.vocab_size // 32)), -1, dtype=torch.int32)

    def destroy(self) -> None:
        """Nothing is held."""


class _Grammar(StructuredOutputGrammar):
    """One sequence's constraint as vLLM calls it. Whether a token may be taken is decided by the
    books; there are no drafts, so nothing is rolled back."""

    def __init__(self, constraint: Constraint):
        self._constraint = constraint
        self.is_broken = False  # a limit struck, so a mask did not bind

    def accept_tokens(self, _request_id: str, tokens: list[int]) -> bool:
        for token in tokens:
            self._constraint.push(token)
        return True

    def validate_tokens(self, tokens: list[int]) -> list[int]:
        raise NotImplementedError

    def rollback(self, num_tokens: int) -> None:
        raise NotImplementedError

    def fill_bitmask(self, bitmask: torch.Tensor, batch_index: int) -> None:
        row = bitmask[batch_index].numpy()
        row[:] = -1
        if matcher := self._constraint.matcher:
            began = time.thread_time()
            matcher.fill(row[None])
            self._constraint.took(time.thread_time() - began)
        self._constraint.adjust(row)
        self.is_broken = self.is_broken or self._constraint.error is not None

    def is_terminated(self) -> bool:
        return False

    def reset(self) -> None:
        raise NotImplementedError
