"""The engine with continuous batching: in each step all rows are computed together, and each row's
next token is drawn with its own settings.

A step on the engine's thread: take new requests and cancellations (`scheduling/mailbox.py`), plan
(`scheduling/scheduler.py`), compute the logits (`model/runner.py`), draw (`draw.py`), advance each
row and hand over finished requests (`scheduling/open_requests.py`).

Computing and drawing change no row. So a step that fails is computed again in halves until the row
at fault is found, and only that row's request fails. A step that runs out of memory is planned
again with half the tokens.
"""

from __future__ import annotations

import itertools
import logging
import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from common.errors import EngineError
from common.generation import Request
from worker.engine.arrays import to_device
from worker.engine.draw import draw
from worker.engine.logprobs import Asked, places, scored
from worker.engine.model.compose import BLOCK_SIZE, compose
from worker.engine.model.runner import TORCH
from worker.engine.protocol import EngineThread
from worker.engine.scheduling.blocks import BlockPool
from worker.engine.scheduling.drawn import Drawn, Scores
from worker.engine.scheduling.open_requests import OpenRequests
from worker.engine.scheduling.scheduler import Chunk, Scheduler
from worker.engine.scheduling.sequence import Sequence
from worker.engine.scheduling.text import Detokenizer

if TYPE_CHECKING:
    from common.structured.guidance import Guide

log = logging.getLogger(__name__)

# Tokens per step: past this a longer step gains no throughput.
TOKEN_BUDGET = {"cpu": 1024, "cuda": 8192}
GOOD_STEPS = 256  # steps without running out of memory, after which steps may grow again

# The result of a step: next tokens, and log-probabilities of given tokens.
Found = tuple[list[tuple[Sequence, Drawn]], list[tuple[Asked, Scores]]]


class BatchingEngine(EngineThread):
    """`kv_tokens` is the room for keys and values; by default what memory allows, at most `slots`
    full contexts. `token_budget` is how many tokens a step computes at most. `guide` makes matchers
    of grammars; without one, requests with a grammar are refused. `kernels="torch"` leaves the
    compiled kernels out; `quantize` is what they compute in, other than the model's own type.

    Raises:
        NotPackable: the model must take the generate engine.
        ConfigError: the model cannot be computed in `quantize` here.
        EngineError: there is no memory for keys and values.
    """

    def __init__(
        self,
        model: Any,
        detokenizer: Detokenizer,
        *,
        slots: int,
        context: int,
        kv_tokens: int | None = None,
        token_budget: int | None = None,
        block_size: int = BLOCK_SIZE,
        guide: Guide | None = None,
        kernels: Literal["auto", "torch"] = "auto",
        quantize: Literal["int8"] | None = None,
    ):
        super().__init__("batching-engine", slots=slots)
        self._runner = compose(
            model,
            rows=slots,
            context=context,
            kv_tokens=kv_tokens,
            block_size=block_size,
            kernels=kernels,
            quantize=quantize,
        )
        blocks, size = self._runner.blocks, self._runner.attention.size
        self.context = min(context, blocks * size)
        self._device = next(model.parameters()).device
        by_torch = self._runner.kernels == TORCH
        self.kernels = f"{TORCH} {self._device.type}" if by_torch else self._runner.kernels
        self.batch_invariant = self._runner.batch_invariant
        self._most_tokens = token_budget or TOKEN_BUDGET.get(self._device.type, 1024)  # per step
        self.scheduler = Scheduler(
            BlockPool(blocks, size), slots=slots, token_budget=self._most_tokens
        )
        self._good_steps = 0  # since memory ran out
        self._lost_device = False
        self._requests = OpenRequests(
            self._mail,
            detokenizer,
            vocabulary=model.config.get_text_config().vocab_size,
            context=self.context,
            on_end=self.scheduler.remove,
            guide=guide,
        )

    def step_age(self) -> float:
        return math.inf if self._lost_device else super().step_age()

    @property
    def parts(self) -> dict[str, str | int]:
        """What computes the steps, for benchmarks: see `Runner.parts`."""
        return self._runner.parts

    def forget_prefixes(self) -> None:
        """Empty the prefix cache. Only while no request is open: the engine's thread uses it."""
        self.scheduler.pool.forget_all()

    def _warm_up(self) -> None:
        self._runner.warm_up()

    def _run(self) -> None:
        while self._take_mail(0 if self._requests else None):
            if not self._requests:
                continue
            self._begin_step()
            try:
                self._step()
            except torch.AcceleratorError:
                log.critical("the device computes no more: this process must end", exc_info=True)
                # No row is at fault. The worker sees the infinite step age and ends the process.
                self._lost_device = True
                return
            self._end_step()

    def _accept(self, request: Request) -> None:
        if error := self._requests.refusal(request):
            self._requests.refuse(request, error)
            return
        sequences = self._requests.open(request)
        for sequence in sequences:
            self.scheduler.add(sequence)
        for sequence, generated in zip(sequences, request.resume or [], strict=False):
            self._requests.resume(sequence, generated)

    def _step(self) -> None:
        chunks = self.scheduler.plan()
        error = self._try(chunks)
        if error is None:
            self._grow()
        elif _out_of_memory(error):
            self._shrink(chunks)
        else:
            self._find_fault(chunks, error)

    def _try(self, chunks: list[Chunk]) -> Exception | None:
        """Compute these rows and advance them; or change nothing, and return the error."""
        try:
            drawn, found = self._compute(chunks)
        except torch.AcceleratorError:
            raise
        except Exception as error:
            log.exception("a step with %d rows failed", len(chunks))
            # The traceback would keep the step's tensors alive.
            return error.with_traceback(None)
        self.scheduler.done(chunks)
        for asked, scores in found:
            self._requests.take_scores(asked.sequence, asked.position, scores)
        for chunk in chunks:
            if not chunk.is_branch:
                self._go_on_scoring(chunk.sequence)
        for sequence, each in drawn:
            self._requests.take(sequence, each)
        return None

    def _compute(self, chunks: list[Chunk]) -> Found:
        ends = list(itertools.accumulate(chunk.count for chunk in chunks))
        sampling = [
            (chunk.sequence, end - 1)
            for chunk, end in zip(chunks, ends, strict=True)
            if chunk.samples
        ]
        asked = places(chunks, ends)
        logits = self._logits(
            chunks, [place for _, place in sampling] + [each.place for each in asked]
        )
        sequences = [sequence for sequence, _ in sampling]
        with torch.inference_mode():
            found = scored(asked, logits[len(sampling) :]) if asked else []
            drawn = (
                draw(sequences, logits[: len(sampling)], self._runner.library) if sampling else []
            )
        return list(zip(sequences, drawn, strict=True)), found

    def _logits(self, chunks: list[Chunk], wanted: list[int]) -> torch.Tensor:
        """The logits at these places of the step, (wanted, vocabulary)."""
        size = self._runner.attention.size
        self._runner.attention.copy(
            [
                (chunk.copied, chunk.sequence.blocks[chunk.start // size])
                for chunk in chunks
                if chunk.copied is not None
            ]
        )
        # Recorded decode steps have them in the order of their rows.
        in_order = sorted(wanted) if len(wanted) == len(chunks) else wanted
        logits = self._runner.logits(
            [chunk.sequence.tokens[chunk.start : chunk.start + chunk.count] for chunk in chunks],
            [(chunk.sequence.blocks, chunk.start) for chunk in chunks],
            in_order,
        )
        if in_order == wanted:
            return logits
        row_of = {place: row for row, place in enumerate(in_order)}
        rows = np.array([row_of[place] for place in wanted])
        return logits.index_select(0, to_device(rows, logits.device))

    def _go_on_scoring(self, sequence: Sequence) -> None:
        """Let a sequence whose current text is scored go on with the next one, or end."""
        scoring = sequence.scoring
        if not scoring or sequence.finish_reason or sequence.computed < len(sequence.tokens):
            return
        stay = scoring.go_on()
        if stay is None:
            self._requests.end_scoring(sequence)
        else:
            tokens = [*sequence.request.prompt_ids, *scoring.tokens]
            self.scheduler.go_back(sequence, stay, tokens)

    def _find_fault(self, chunks: list[Chunk], error: Exception) -> None:
        """Halve the rows of a failed step until the one at fault is alone. Halves that run without
        an error have made their step.

        Takes at most two runs for each halving. If several rows are at fault, the others are found
        in the next steps.
        """
        failed = chunks
        suspects = self.scheduler.undo(chunks)
        while len(suspects) > 1 or len(suspects) < len(failed):
            failed = []
            half = len(suspects) // 2
            for part in (suspects[:half], suspects[half:]):
                part = [chunk for chunk in part if not chunk.sequence.finish_reason]
                again = self._try(part) if part else None
                if again and not failed:
                    failed, error = part, again
            suspects = failed
        if _out_of_memory(error):
            self._shrink(suspects)
            return
        for chunk in suspects:
            self._requests.fail(chunk.sequence.request.id, error)

    def _shrink(self, chunks: list[Chunk]) -> None:
        """Memory ran out: halve the tokens of the next steps. A row fails only if it ran out with a
        single token."""
        tokens = sum(chunk.count for chunk in chunks)
        self._good_steps = 0
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        left = self.scheduler.undo(chunks)
        if tokens > 1:
            self.scheduler.token_budget = tokens // 2
            log.warning(
                "memory ran out in a step of %d tokens; steps have %d from now on",
                tokens,
                tokens // 2,
            )
            return
        for chunk in left:
            self._requests.fail(
                chunk.sequence.request.id, EngineError("the worker has no memory left for this")
            )

    def _grow(self) -> None:
        if self.scheduler.token_budget < self._most_tokens:
            self._good_steps += 1
            if self._good_steps == GOOD_STEPS:
                self._good_steps = 0
                self.scheduler.token_budget = min(
                    2 * self.scheduler.token_budget, self._most_tokens
                )


def _out_of_memory(error: Exception) -> bool:
    """Whether memory ran out. On a CPU torch raises a plain RuntimeError then."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(
        error
    )
