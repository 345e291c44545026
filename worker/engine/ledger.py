"""Requests that are in the engine: what was accepted, how each continuation stands, and when a request is handed over.

Shared by the native and the generate engine. Knows tokens, text and reasons to end; not who computes the logits.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

from common.errors import EngineError
from common.types import Finished, FinishReason, Request

from .base import Detokenizer
from .logits import Edits
from .mailbox import Mailbox, Reason
from .sequence import Sequence
from .text import Text


class Ledger:
    """`on_end` is told of every sequence that ends, before its request is handed over.

    `reads_prompt`: penalties count the prompt's tokens too, as decoder-only models do.
    """

    def __init__(
        self,
        mail: Mailbox,
        detokenizer: Detokenizer,
        *,
        vocabulary: int,
        context: int,
        on_end: Callable[[Sequence], None],
        reads_prompt: bool = True,
    ):
        self._mail = mail
        self._detokenizer = detokenizer
        self._vocabulary = vocabulary
        self._context = context
        self._on_end = on_end
        self._reads_prompt = reads_prompt
        self._arrivals = itertools.count()
        self._open: dict[str, list[Sequence]] = {}

    def __bool__(self) -> bool:
        return bool(self._open)

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._open

    def checkpoint(self) -> dict[str, list[list[int]]]:
        open_now = list(self._open.items())
        return {
            request_id: [sequence.tokens[len(sequence.request.prompt_ids) :] for sequence in sequences]
            for request_id, sequences in open_now
        }

    def refusal(self, request: Request) -> tuple[str, str] | None:
        """Why a request can never run, as `(code, message)`."""
        params, ids = request.params, request.prompt_ids
        if not ids:
            return "invalid_request", "the prompt has no tokens"
        total = len(ids) + params.max_tokens
        if total > self._context:
            return "context_length_exceeded", f"prompt and max_tokens make {total} tokens; at most {self._context} fit"
        if max(*ids, *params.stop_token_ids, *params.logit_bias, 0) >= self._vocabulary:
            return "invalid_request", f"a token id is not below the vocabulary's size, {self._vocabulary}"
        return None

    def refuse(self, request: Request, error: tuple[str, str]) -> None:
        self._mail.finish([Finished(request.id, prompt_tokens=len(request.prompt_ids), error=error)])

    def open(self, request: Request) -> list[Sequence]:
        """A sequence for each continuation, from its checkpoint if there is one; those that had ended have ended."""
        params = request.params
        edited = request.prompt_ids if self._reads_prompt else []
        bad_words = [ids for word in params.bad_words for ids in self._spellings(word)]
        sequences = [
            Sequence(
                request,
                index,
                next(self._arrivals),
                list(request.prompt_ids),
                Text(self._detokenizer.stream(), params.stop),
                Edits(params, edited, self._detokenizer.eos_ids, bad_words),
            )
            for index in range(params.n)
        ]
        self._open[request.id] = sequences
        return sequences

    def advance(self, sequence: Sequence, token: int, *, told: bool = False) -> None:
        """Append a generated token; end the sequence if it is the last. `told`: a stream has had it already."""
        params = sequence.request.params
        sequence.tokens.append(token)
        sequence.edits.push(token)
        text = ""
        reason: FinishReason | None = None
        if token in params.stop_token_ids or (token in self._detokenizer.eos_ids and not params.ignore_eos):
            reason = "stop"
        else:
            text, stopped = sequence.text.push(token)
            if stopped:
                reason = "stop"
            elif sequence.generated >= params.max_tokens:
                reason = "length"
        if reason:
            text += sequence.text.flush()
        if sequence.request.on_token and not told:
            logprob = sequence.logprobs[-1] if params.logprobs is not None else None
            sequence.request.on_token(sequence.index, token, text, logprob)
        if reason:
            self._finish(sequence, reason)

    def end(self, request_id: str, reason: Reason) -> None:
        """Cut a request's unfinished sequences off here."""
        for sequence in self._open.get(request_id, []):
            if sequence.finish_reason is None:
                self._finish(sequence, reason)

    def fail(self, request_id: str, message: str) -> None:
        sequences = self._open.pop(request_id)
        for sequence in sequences:
            if sequence.finish_reason is None:
                sequence.finish_reason = "error"
                self._on_end(sequence)
        self.refuse(sequences[0].request, (EngineError.code, message))

    def _finish(self, sequence: Sequence, reason: FinishReason) -> None:
        sequence.finish_reason = reason
        self._on_end(sequence)
        request = sequence.request
        sequences = self._open[request.id]
        if not all(other.finish_reason for other in sequences):
            return
        del self._open[request.id]
        finished = Finished(request.id, [each.output() for each in sequences], len(request.prompt_ids))
        if request.params.prompt_logprobs is not None:
            finished.prompt_logprobs = sequences[0].prompt_logprobs
        self._mail.finish([finished])

    def _spellings(self, word: str) -> list[list[int]]:
        """A bad word's tokens at the start of a text and after a space."""
        return [ids for text in (word, " " + word) if (ids := self._detokenizer.encode(text, special=False))]
