"""The engine for encoder-decoder models and others that cannot run packed: transformers'
`generate()`, batch by batch.

`generate()` computes the logits, and our own sampler draws every row's token, so that rows with
different settings run in one batch. A batch runs until its last row ends; then the next one starts.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import torch
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

from common.generation import Request
from worker.engine.draw import draw
from worker.engine.model.padding import padded, together
from worker.engine.protocol import EngineThread
from worker.engine.scheduling.open_requests import OpenRequests
from worker.engine.scheduling.sequence import Sequence
from worker.engine.scheduling.text import Detokenizer

if TYPE_CHECKING:
    from common.structured.guidance import Guide

log = logging.getLogger(__name__)


class _Stopped(Exception):
    """The engine was stopped in the middle of a batch."""


class GenerateEngine(EngineThread):
    """Runs `model` batch by batch, at most `slots` rows each, as many as it computes correctly
    together (`model/padding.py`). `guide` makes matchers of grammars; without one, requests with a
    grammar are refused."""

    honours = EngineThread.honours - {"prompt_logprobs"}

    def __init__(
        self,
        model: Any,
        detokenizer: Detokenizer,
        *,
        slots: int,
        context: int,
        guide: Guide | None = None,
    ):
        super().__init__("generate-engine", slots=slots)
        self.context = context
        self.kernels = f"torch {model.device.type}"
        self._model = model
        for layers in (
            module for module in model.modules() if isinstance(module, torch.nn.ModuleList)
        ):
            for layer in layers:
                layer.register_forward_hook(self._note_progress)
        # `generate()` takes what ours leaves empty from the model's own generation config, which
        # may have beams and penalties that nobody asked for.
        own = model.generation_config
        model.generation_config = GenerationConfig(
            do_sample=False,
            pad_token_id=own.pad_token_id or 0,
            bos_token_id=own.bos_token_id,
            decoder_start_token_id=own.decoder_start_token_id,
            forced_bos_token_id=own.forced_bos_token_id,
        )
        self._two_parts = bool(model.config.is_encoder_decoder)
        self._waiting: list[Sequence] = []
        self._together = together(model)
        self._requests = OpenRequests(
            self._mail,
            detokenizer,
            vocabulary=model.config.get_text_config(decoder=True).vocab_size,
            context=context,
            on_end=self._forget,
            reads_prompt=not self._two_parts,
            guide=guide,
        )

    def _warm_up(self) -> None:
        ids = torch.ones(1, 2, dtype=torch.int64, device=self._model.device)
        with torch.inference_mode():
            self._model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=1
            )

    def _note_progress(self, *_: object) -> None:
        """A layer is done, so the step's age starts at 0 again: the prompts of a whole batch are
        read in one step, which may take long without hanging."""
        if self._step_began is not None:
            self._begin_step()

    def _run(self) -> None:
        try:
            while self._take_mail(0 if self._waiting else None):
                if batch := self._next_batch():
                    self._generate(batch)
        except _Stopped:
            pass

    def _accept(self, request: Request) -> None:
        error = self._requests.refusal(request)
        if request.continuations is not None:
            error = (
                "unsupported",
                "scoring texts needs a model that can run with continuous batching",
            )
        if error:
            self._requests.refuse(request, error)
            return
        sequences = self._requests.open(request)
        self._waiting += sequences
        # The decoder of an encoder-decoder model starts again; it draws the same random numbers.
        if not self._two_parts:
            for sequence, generated in zip(sequences, request.resume or [], strict=False):
                self._requests.resume(sequence, generated)

    def _forget(self, sequence: Sequence) -> None:
        if sequence in self._waiting:
            self._waiting.remove(sequence)

    def _next_batch(self) -> list[Sequence]:
        if not self._waiting:
            return []
        length = len(self._waiting[0].tokens)
        fitting = [
            each for each in self._waiting if self._together == "any" or len(each.tokens) == length
        ]
        batch = fitting[: 1 if self._together == "none" else self.slots]
        self._waiting = [each for each in self._waiting if each not in batch]
        return batch

    def _generate(self, batch: list[Sequence]) -> None:
        """Generate until all rows of the batch have ended. If that fails, the rows that have not
        ended go on in two halves, and so on until the row at fault is alone: only its request
        fails."""
        self._begin_step()
        try:
            with torch.inference_mode():
                self._run_model(batch)
            error = None
        except _Stopped:
            raise
        except Exception as found:
            log.exception("a batch of %d rows failed", len(batch))
            # The traceback would keep the batch's tensors alive.
            error = found.with_traceback(None)
        self._step_began = None
        left = [sequence for sequence in batch if not sequence.finish_reason]
        if error and len(batch) == 1:
            self._requests.fail(batch[0].request.id, error)
        elif error and left:
            half = -(-len(left) // 2)
            for part in (left[:half], left[half:]):
                if part := [sequence for sequence in part if not sequence.finish_reason]:
                    self._generate(part)

    def _run_model(self, batch: list[Sequence]) -> None:
        read = [
            sequence.request.prompt_ids if self._two_parts else sequence.tokens
            for sequence in batch
        ]
        # Decoders are padded on the left, because generation goes on at the right end; encoders on
        # the right.
        ids, mask = padded(read, left=not self._two_parts)
        steps = max(sequence.request.params.max_tokens - sequence.generated for sequence in batch)
        self._model.generate(
            input_ids=ids.to(self._model.device),
            attention_mask=mask.to(self._model.device),
            max_new_tokens=steps,
            logits_processor=LogitsProcessorList([_Picker(self, batch)]),
            stopping_criteria=StoppingCriteriaList([_EndOfAll(batch)]),
            **self._decoder_inputs(batch),
        )

    def _decoder_inputs(self, batch: list[Sequence]) -> dict[str, torch.Tensor]:
        """What the decoder of an encoder-decoder model has generated in a batch that failed: the
        same number of tokens in all rows."""
        said = [sequence.tokens[len(sequence.request.prompt_ids) :] for sequence in batch]
        if not self._two_parts or not said[0]:
            return {}
        config = self._model.generation_config
        start = (
            config.decoder_start_token_id
            if config.decoder_start_token_id is not None
            else config.bos_token_id
        )
        return {
            "decoder_input_ids": torch.tensor(
                [[start, *row] for row in said], device=self._model.device
            )
        }

    def step(self, batch: list[Sequence], scores: torch.Tensor) -> torch.Tensor:
        """One decoding step: advance every live row of `batch`; returns the tokens, (rows,)."""
        if not self._take_mail(0):
            raise _Stopped
        self._begin_step()
        live = [row for row, sequence in enumerate(batch) if sequence.finish_reason is None]
        tokens = torch.zeros(len(batch), dtype=torch.int64)
        if live:
            sequences = [batch[row] for row in live]
            for row, sequence, drawn in zip(
                live, sequences, draw(sequences, scores[live]), strict=True
            ):
                tokens[row] = drawn.token or 0
                self._requests.take(sequence, drawn)
        return tokens.to(scores.device)


class _Picker:
    """A logits processor that allows only the token that our sampler drew."""

    def __init__(self, engine: GenerateEngine, batch: list[Sequence]):
        self._engine = engine
        self._batch = batch

    def __call__(self, _ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        tokens = self._engine.step(self._batch, scores)
        return torch.full_like(scores, -torch.inf).scatter_(1, tokens[:, None], 0.0)


class _EndOfAll:
    """A stopping criterion: which rows have ended."""

    def __init__(self, batch: list[Sequence]):
        self._batch = batch

    def __call__(self, ids: torch.Tensor, _scores: Any, **_others: Any) -> torch.Tensor:
        ended = [sequence.finish_reason is not None for sequence in self._batch]
        return torch.tensor(ended, device=ids.device)
