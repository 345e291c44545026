"""The engine: continuous batching over a Hugging Face model's own modules, every row by its own settings.

A step is: take new requests and wishes, plan, compute, draw, advance each row, hand over what finished. One thread does
all of it; `scheduler.py` decides, `runner.py` computes, `draw.py` draws, `ledger.py` keeps the books.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
from typing import Any

import torch

from common.errors import EngineError
from common.types import Request

from . import flash
from .base import Detokenizer
from .blocks import BlockPool
from .draw import draw
from .kernels import pack
from .kv import bytes_per_token
from .ledger import Ledger
from .logprobs import Logprobs
from .mailbox import Mailbox
from .probe import forward_of, probe
from .runner import Runner
from .scheduler import Chunk, Scheduler

log = logging.getLogger(__name__)

BLOCK_SIZE = 16  # tokens: larger ones are no faster, and prompts share only whole blocks
TOKEN_BUDGET = {"cpu": 1024, "cuda": 8192}  # tokens per step: past this a longer step gains no throughput
CPU_KV_BYTES = 2 << 30  # at most; pages are only taken when a block is first used


class NativeEngine:
    """`kv_tokens` is the room for keys and values; by default what memory allows, at most `slots` full contexts.

    Raises:
        NotPackable: the model must take the generate engine.
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
    ):
        shapes = probe(model)
        packed = pack(model)
        log.info("native engine: %d layers with keys and values, %d weights packed for the CPU", len(shapes), packed)
        device = next(model.parameters()).device
        paged = flash.usable(shapes, model.dtype, device)
        size = flash.PAGE if paged else block_size
        if kv_tokens is None:
            kv_tokens = _kv_tokens(
                bytes_per_token(shapes, model.dtype), device, slots * -(-context // size) * size, size
            )
        blocks = kv_tokens // size
        self.slots = slots
        self.context = min(context, blocks * size)
        self._runner = (
            flash.FlashRunner(model, shapes, blocks=blocks, rows=slots, context=self.context)
            if paged
            else Runner(forward_of(model, shapes), shapes, blocks=blocks, size=size)
        )
        self.scheduler = Scheduler(
            BlockPool(blocks, size), slots=slots, token_budget=token_budget or TOKEN_BUDGET.get(device.type, 1024)
        )
        self._logprobs = Logprobs(detokenizer)
        self._step_began: float | None = None
        self._mail = Mailbox(slots)
        self._ledger = Ledger(
            self._mail,
            detokenizer,
            vocabulary=model.config.get_text_config().vocab_size,
            context=self.context,
            on_end=self.scheduler.remove,
        )
        self._thread = threading.Thread(target=self._run, name="native-engine", daemon=True)

        self.submit = self._mail.submit
        self.cancel = self._mail.cancel
        self.room = self._mail.room
        self.collect = self._mail.collect
        self.poke = self._mail.poke
        self.checkpoint = self._ledger.checkpoint

    def start(self) -> None:
        self._runner.warm_up()
        self._thread.start()

    def stop(self) -> None:
        self._mail.close()
        if self._thread.is_alive():
            self._thread.join()

    def step_age(self) -> float:
        began = self._step_began
        return 0.0 if began is None else time.monotonic() - began

    def _run(self) -> None:
        while (mail := self._mail.take(0 if self._ledger else None)) is not None:
            requests, wishes = mail
            for request in requests:
                self._accept(request)
            for request_id, reason in wishes.items():
                self._ledger.end(request_id, reason)
            if self._ledger:
                self._step_began = time.monotonic()
                self._step()
                self._step_began = None

    def _accept(self, request: Request) -> None:
        if error := self._ledger.refusal(request):
            self._ledger.refuse(request, error)
            return
        sequences = self._ledger.open(request)
        for sequence in sequences:
            self.scheduler.add(sequence)
        for sequence, generated in zip(sequences, request.resume or [], strict=False):
            for token in generated:
                self._ledger.advance(sequence, token, told=True)

    def _step(self) -> None:
        chunks = self.scheduler.plan()
        try:
            self._compute(chunks)
        except Exception as error:  # the rows of this step fail, the others and the thread go on
            log.exception("a step with %d rows failed", len(chunks))
            self.scheduler.pool.forget_all()
            for request_id in {chunk.sequence.request.id for chunk in chunks}:
                if request_id in self._ledger:
                    self._ledger.fail(request_id, f"{type(error).__name__}: {error}")

    def _compute(self, chunks: list[Chunk]) -> None:
        ends = list(itertools.accumulate(chunk.count for chunk in chunks))
        sampling = [(chunk.sequence, end - 1) for chunk, end in zip(chunks, ends, strict=True) if chunk.samples]
        asked = self._logprobs.places(chunks, ends)
        logits = self._runner.logits(
            [chunk.sequence.tokens[chunk.start : chunk.start + chunk.count] for chunk in chunks],
            [(chunk.sequence.blocks, chunk.start) for chunk in chunks],
            [place for _, place in sampling] + [place for *_, place in asked],
        )
        self.scheduler.done(chunks)
        with torch.inference_mode():
            self._logprobs.note_prompts(asked, logits[len(sampling) :])
            if not sampling:
                return
            sequences = [sequence for sequence, _ in sampling]
            tokens = draw(sequences, logits[: len(sampling)], self._logprobs)
        for sequence, token in zip(sequences, tokens, strict=True):
            if sequence.finish_reason:
                continue  # another continuation of its request failed just now
            if token is None:
                self._ledger.fail(sequence.request.id, "the model's logits are not finite")
            else:
                self._ledger.advance(sequence, token)


def _kv_tokens(per_token: int, device: torch.device, most: int, block: int) -> int:
    """Tokens whose keys and values fit: 85 % of what is free on a GPU, a quarter of the RAM up to 2 GiB on a CPU.

    `most` are needed if every slot runs to the end of its context; fewer than a `block` are of no use.
    """
    if device.type == "cuda":
        memory = int(torch.cuda.mem_get_info(device)[0] * 0.85)
    else:
        memory = min(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4, CPU_KV_BYTES)
    tokens = min(memory // per_token, most)
    if tokens < block:
        raise EngineError(f"{memory >> 20} MiB of free memory hold the keys and values of only {tokens} tokens")
    return tokens
