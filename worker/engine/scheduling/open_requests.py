"""The requests that are in an engine: accepts them, advances their continuations token by token,
and hands over the finished ones.

Both engines use it. It knows tokens, text and reasons to end; it computes no logits.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from common.errors import EngineError
from common.generation import Finished, FinishReason, NewToken, Request, Spelling, TokenLogprob
from worker.engine.sampling.edits import Edits
from worker.engine.sampling.grammar import Part
from worker.engine.scheduling.drawn import Drawn, Fault, Score, Scores, spelled
from worker.engine.scheduling.errors import KEPT, told_error
from worker.engine.scheduling.grammars import Grammars
from worker.engine.scheduling.mailbox import Mailbox, Reason
from worker.engine.scheduling.scored import chosen, continuation_scores
from worker.engine.scheduling.scored import refusal as scoring_refusal
from worker.engine.scheduling.scoring import Scoring
from worker.engine.scheduling.sequence import Sequence
from worker.engine.scheduling.text import Detokenizer, Speller, Text, spellings

if TYPE_CHECKING:
    from common.structured.guidance import Guide

log = logging.getLogger(__name__)


class OpenRequests:
    """`on_end` is called with every sequence that ends, before its request is handed over.

    With `reads_prompt` penalties count the prompt's tokens too, as usual for decoder-only models.
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
        guide: Guide | None = None,
    ):
        self._mail = mail
        self._detokenizer = detokenizer
        self._vocabulary = vocabulary
        self._context = context
        self._on_end = on_end
        self._reads_prompt = reads_prompt
        self.grammars = Grammars(guide, detokenizer.eos_ids)
        self._arrivals = itertools.count()
        self._open: dict[str, list[Sequence]] = {}

    def __bool__(self) -> bool:
        return bool(self._open)

    def checkpoint(self, request_ids: Iterable[str]) -> dict[str, list[list[int]]]:
        """The tokens that these requests have generated so far, a list for each continuation;
        without those that are not open. May be called from any thread."""
        found = ((each, self._open.get(each)) for each in request_ids)
        return {each: [one.said for one in rows] for each, rows in found if rows}

    def refusal(self, request: Request) -> tuple[str, str] | None:
        """Why a request can never run, as `(code, message)`."""
        params, ids = request.params, request.prompt_ids
        if request.continuations is not None:
            ends = self._detokenizer.eos_ids
            return scoring_refusal(request, self._context, self._vocabulary, ends)
        if not ids:
            return "invalid_request", "the prompt has no tokens"
        total = len(ids) + params.max_tokens
        if total > self._context:
            message = (
                f"This model's maximum context length is {self._context} tokens. However, "
                f"you requested {total} tokens."
            )
            return "context_length_exceeded", message
        if max(*ids, *params.stop_token_ids, *params.logit_bias, 0) >= self._vocabulary:
            return (
                "invalid_request",
                f"a token id is not below the vocabulary's size, {self._vocabulary}",
            )
        return self.grammars.refusal(request)

    def refuse(self, request: Request, error: tuple[str, str]) -> None:
        """Hand a request over with an error."""
        self.grammars.forget(request.id)
        self._mail.finish(
            [Finished(request.id, prompt_tokens=len(request.prompt_ids), error=error)]
        )

    def open(self, request: Request) -> list[Sequence]:
        """A new sequence for each continuation, or one for all that are scored."""
        params, scoring = request.params, self._scoring(request)
        edited = request.prompt_ids if self._reads_prompt else []
        bad_words = [ids for word in params.bad_words for ids in spellings(self._detokenizer, word)]
        special = {self._detokenizer.special_id(stop) for stop in params.stop} - {None}
        stop_ids = frozenset(params.stop_token_ids) | {
            token for token in special if token is not None
        }
        sequences = [
            Sequence(
                request,
                index,
                next(self._arrivals),
                [*request.prompt_ids, *(scoring.tokens if scoring else ())],
                Text(self._detokenizer.stream(), params.stop),
                Edits(params, edited, self._detokenizer.eos_ids | stop_ids, bad_words),
                stop_ids,
                self.grammars.constraint(request),
                Text(self._detokenizer.stream(), ()) if request.thinking else None,
                told=sum(map(len, (request.resume or [])[index : index + 1])),
                speller=Speller(self._detokenizer) if params.logprobs is not None else None,
                scoring=scoring,
            )
            for index in range(1 if scoring else params.n)
        ]
        self.grammars.forget(request.id)
        if params.prompt_logprobs is not None and request.prompt_ids:
            first = sequences[0]
            first.prompt_speller = Speller(self._detokenizer)
            first.prompt_logprobs.append(
                TokenLogprob(first.prompt_speller.push(request.prompt_ids[0]), None, [])
            )
        self._open[request.id] = sequences
        return sequences

    def resume(self, sequence: Sequence, generated: list[int]) -> None:
        """Bring a new sequence to where a checkpoint left it; if it had ended, it ends. Where its
        grammar does not allow these tokens, it starts from its prompt."""
        if sequence.constraint and not sequence.constraint.follows(generated):
            log.warning("request %s starts from its prompt", sequence.request.id)
            return
        for token in generated:
            self.advance(sequence, token)

    def take(self, sequence: Sequence, drawn: Drawn) -> None:
        """Advance a sequence by the token that was drawn for it. An error fails its own request
        only."""
        if sequence.finish_reason:
            return  # another continuation of its request failed in this step
        try:
            if drawn.token is not None:
                self.advance(sequence, drawn.token, drawn.score)
            elif drawn.fault and drawn.fault in KEPT:
                self._break_off(sequence, drawn.fault)
            else:
                raise EngineError("the model's logits are not finite")
        except Exception as error:
            self.fail(sequence.request.id, error)

    def take_scores(self, sequence: Sequence, position: int, found: Scores) -> None:
        """Store the log-probabilities of what follows this position of a prompt, or of a text that
        is scored. An error fails its own request only."""
        if sequence.finish_reason:
            return
        try:
            if sequence.scoring and position >= len(sequence.request.prompt_ids) - 1:
                sequence.scoring.take(position, found)
                return
            assert sequence.prompt_speller is not None
            score = Score(found.tokens[0], found.logprobs[0], found.top)
            spelling = sequence.prompt_speller.push(score.token)
            sequence.prompt_logprobs.append(spelled(score, spelling, self._detokenizer))
        except Exception as error:
            self.fail(sequence.request.id, error)

    def end_scoring(self, sequence: Sequence) -> None:
        """All texts of a sequence's request are scored. An error fails this request only."""
        try:
            self._finish(sequence, "stop")
        except Exception as error:
            self.fail(sequence.request.id, error)

    def advance(self, sequence: Sequence, token: int, score: Score | None = None) -> None:
        """Append a generated token, and end the sequence if it is the last one."""
        params = sequence.request.params
        constraint = sequence.constraint
        sequence.tokens.append(token)
        sequence.edits.push(token)
        ends = token in sequence.stop_ids or (
            token in self._detokenizer.eos_ids and not params.ignore_eos
        )
        logprob = self._scored(sequence, token, score, ends) if score else None
        text, part = "", "text"
        reason: FinishReason | None = None
        if ends:
            reason = "stop"
        else:
            part = constraint.push(token) if constraint else "text"
            text, stopped = self._written(sequence, token, part)
            if stopped or (constraint and constraint.is_over):
                reason = "stop"
            elif sequence.generated >= params.max_tokens:
                reason = "length"
        if reason:
            text += sequence.flush()
        if sequence.request.on_token and sequence.generated > sequence.told:
            new = NewToken(sequence.index, token, text, logprob, part != "text")
            sequence.request.on_token(new)
        if constraint and constraint.error:
            self._break_off(sequence, "grammar_too_complex")
        elif reason:
            self._finish(sequence, reason)

    def _scored(
        self, sequence: Sequence, token: int, score: Score, ends: bool
    ) -> TokenLogprob | None:
        """Keep the log-probability of a token that was generated, if it is wanted."""
        if not sequence.speller:
            return None
        # A token that ends the text is not part of it.
        spelling = (
            Spelling(token, self._detokenizer.spell(token).text, b"")
            if ends
            else sequence.speller.push(token)
        )
        sequence.logprobs.append(spelled(score, spelling, self._detokenizer))
        return sequence.logprobs[-1]

    def _written(self, sequence: Sequence, token: int, part: Part) -> tuple[str, bool]:
        """The text that a token adds to the answer or to the thoughts, and whether a stop string
        ended the answer."""
        if (thoughts := sequence.thoughts) is None or part == "text":
            return sequence.text.push(token)
        return (thoughts.flush() if part == "mark" else thoughts.push(token)[0]), False

    def end(self, request_id: str, reason: Reason) -> None:
        """End the sequences of a request that have not ended, with the text they have."""
        for sequence in self._open.get(request_id, []):
            if sequence.finish_reason is None:
                self._finish(sequence, reason)

    def fail(self, request_id: str, error: Exception) -> None:
        """End a request with an error, unless it has ended."""
        if request_id not in self._open:
            return
        sequences = self._open.pop(request_id)
        for sequence in sequences:
            if sequence.finish_reason is None:
                sequence.finish_reason = "error"
                self._on_end(sequence)
        self.refuse(sequences[0].request, told_error(request_id, error))

    def guarded(self, request: Request, action: Callable[[Request], None]) -> None:
        """Call `action` with a request; an error fails this request only."""
        try:
            action(request)
        except Exception as error:
            if request.id in self._open:
                self.fail(request.id, error)
            else:
                self.refuse(request, told_error(request.id, error))

    def _break_off(self, sequence: Sequence, fault: Fault) -> None:
        """End a sequence with an error that keeps its text. The other continuations of its request
        go on."""
        sequence.error = fault, KEPT[fault]
        self._finish(sequence, "error")

    def _finish(self, sequence: Sequence, reason: FinishReason) -> None:
        sequence.finish_reason = reason
        self._on_end(sequence)
        request = sequence.request
        sequences = self._open[request.id]
        if not all(other.finish_reason for other in sequences):
            return
        finished = Finished(request.id, prompt_tokens=len(request.prompt_ids))
        finished.error = next((each.error for each in sequences if each.error), None)
        if sequence.scoring and reason == "stop":
            self._add_scored(finished, request, sequence.scoring)
        else:
            finished.outputs = [each.output() for each in sequences]
        if request.params.prompt_logprobs is not None:
            finished.prompt_logprobs = sequences[0].prompt_logprobs
        del self._open[request.id]
        self._mail.finish([finished])

    def _scoring(self, request: Request) -> Scoring | None:
        if request.continuations is None:
            return None
        ends = self._detokenizer.eos_ids if request.params.scored_labels else frozenset[int]()
        return Scoring(request.continuations, len(request.prompt_ids), ends)

    def _add_scored(self, finished: Finished, request: Request, scoring: Scoring) -> None:
        finished.scored_tokens = sum(map(len, scoring.paths))
        if labels := request.params.scored_labels:
            finished.outputs = chosen(request, labels, scoring, self._detokenizer)
        else:
            finished.continuations = continuation_scores(request, scoring, self._detokenizer)
