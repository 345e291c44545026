"""An engine that repeats its prompt, word by word: for tests, load tests and demos without torch.

One token is one whitespace-separated word. The answer is the prompt's words once (`stop`), or
repeated up to `max_tokens` with `ignore_eos` (`length`). With a temperature the first word depends
on seed and sequence only. With an adapter each word begins with the adapter's name. Equal requests
have equal answers, whatever else runs. Every log-probability is 0.
"""

from __future__ import annotations

import heapq
import math
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from common.generation import (
    Finished,
    FinishReason,
    NewToken,
    Output,
    Request,
    Spelling,
    TokenLogprob,
)
from worker.engine.protocol import EngineThread

MIN_PAUSE = 0.002  # seconds between two rounds of streamed words


@dataclass(slots=True)
class _Answer:
    """The whole answer of a request, known from its start; with a delay it comes word by word."""

    request: Request
    started: float
    outputs: list[Output]
    streamed: int = 0  # words of each continuation that were streamed

    @property
    def longest(self) -> int:
        return max(output.token_count for output in self.outputs)


class EchoEngine(EngineThread):
    """`delay` is in seconds per token, 0 for none. A prompt with the text `fail_on` fails."""

    def __init__(
        self,
        *,
        slots: int = 64,
        context: int = 8192,
        delay: float = 0.0,
        fail_on: str | None = None,
    ):
        super().__init__("echo-engine", slots=slots)
        self.context = context
        self._delay = delay
        self._fail_on = fail_on
        self._waiting: deque[Request] = deque()
        self._running: dict[str, _Answer] = {}
        self._due: list[tuple[float, str]] = []  # (time of its end, request id), a heap
        self._taken = 0  # slots

    def checkpoint(self, request_ids: Iterable[str], /) -> dict[str, list[list[int]]]:
        answers = map(self._running.get, request_ids)
        return {
            each.request.id: [
                output.token_ids[: self._words_by_now(each)] for output in each.outputs
            ]
            for each in answers
            if each
        }

    def _warm_up(self) -> None:
        """There is no model to try out."""

    def _prepare(self, request: Request) -> None:
        """There is nothing to prepare."""

    def _run(self) -> None:
        while (mail := self._mail.take(self._patience())) is not None:
            requests, wishes = mail
            self._waiting.extend(requests)
            finished = [self._end(request_id, reason) for request_id, reason in wishes.items()]
            finished += self._finish_due(time.monotonic())
            finished += self._admit(time.monotonic())
            self._stream()
            self._mail.finish(finished)

    def _patience(self) -> float | None:
        """Seconds until a word or an answer is due; None if nothing runs."""
        if not self._due:
            return None
        now = time.monotonic()
        words = (each.started + (each.streamed + 1) * self._delay for each in self._streaming())
        return max(
            0.0, min(self._due[0][0], max(now + MIN_PAUSE, min(words, default=math.inf))) - now
        )

    def _streaming(self) -> list[_Answer]:
        return [
            each
            for each in self._running.values()
            if each.request.on_token and each.streamed < each.longest
        ]

    def _stream(self) -> None:
        for each in self._streaming():
            _stream_words(each, self._words_by_now(each))

    def _admit(self, now: float) -> list[Finished]:
        """Start what fits; without a delay, finish it too."""
        finished = []
        while self._waiting and (
            not self._running or self._taken + self._waiting[0].params.n <= self.slots
        ):
            request = self._waiting.popleft()
            if error := self._refusal(request):
                finished.append(
                    Finished(request.id, prompt_tokens=len(request.prompt_ids), error=error)
                )
                continue
            resumed = max(map(len, request.resume or [[]]))
            answer = _answer(request, now - resumed * self._delay)
            answer.streamed = resumed
            if self._delay == 0:
                finished.append(_finished(answer))
                continue
            self._running[request.id] = answer
            self._taken += request.params.n
            heapq.heappush(self._due, (answer.started + self._delay * answer.longest, request.id))
        return finished

    def _refusal(self, request: Request) -> tuple[str, str] | None:
        if request.grammar:
            return "unsupported", "the engine echo has no structured output (params.output)"
        tokens = len(request.prompt_ids) + request.params.max_tokens
        if tokens > self.context:
            message = (
                f"This model's maximum context length is {self.context} tokens. However, "
                f"you requested {tokens} tokens."
            )
            return "context_length_exceeded", message
        if self._fail_on and self._fail_on in request.prompt:
            return (
                "engine_error",
                f"the prompt has {self._fail_on!r}, on which this echo engine fails",
            )
        return None

    def _finish_due(self, now: float) -> list[Finished]:
        finished = []
        while self._due and self._due[0][0] <= now:
            _, request_id = heapq.heappop(self._due)
            if answer := self._running.pop(request_id, None):  # None: it was cancelled
                self._taken -= answer.request.params.n
                finished.append(_finished(answer))
        return finished

    def _end(self, request_id: str, reason: Literal["cancelled", "expired"]) -> Finished:
        """The answer so far."""
        answer = self._running.pop(request_id, None)
        if answer is None:
            request = next(request for request in self._waiting if request.id == request_id)
            self._waiting.remove(request)
            return Finished(request_id, [Output("", [], reason) for _ in range(request.params.n)])
        self._taken -= answer.request.params.n
        words = self._words_by_now(answer)
        answer.outputs = [_cut(output, words, reason) for output in answer.outputs]
        return _finished(answer)

    def _words_by_now(self, answer: _Answer) -> int:
        """How many words each continuation has by now."""
        return int((time.monotonic() - answer.started) / self._delay)


def _stream_words(answer: _Answer, upto: int) -> None:
    """Stream the words that were not streamed, up to word `upto` of each continuation."""
    on_token = answer.request.on_token
    if on_token is None:
        return
    for sequence, output in enumerate(answer.outputs):
        for place, piece in list(enumerate(_pieces(output)))[answer.streamed : upto]:
            logprob = output.logprobs[place] if output.logprobs else None
            on_token(NewToken(sequence, output.token_ids[place], piece, logprob))
    answer.streamed = max(answer.streamed, upto)


def _pieces(output: Output) -> list[str]:
    """The text by tokens: each word with the space before it. Tokens that a stop string cut off
    are empty."""
    words = output.text.split(" ")
    pieces = [(" " if place else "") + word for place, word in enumerate(words)]
    return pieces[: output.token_count] + [""] * (output.token_count - len(pieces))


def _cut(output: Output, count: int, reason: Literal["cancelled", "expired"]) -> Output:
    if output.token_count <= count:
        return output
    logprobs = output.logprobs and output.logprobs[:count]
    return Output(" ".join(output.text.split()[:count]), output.token_ids[:count], reason, logprobs)


def _finished(answer: _Answer) -> Finished:
    request = answer.request
    _stream_words(answer, answer.longest)
    prompt = None
    if request.params.prompt_logprobs is not None:
        prompt = _certain(
            request.prompt.split(), request.prompt_ids, request.params.prompt_logprobs
        )
        for first in prompt[:1]:
            first.logprob, first.top = None, []
    return Finished(request.id, answer.outputs, len(request.prompt_ids), prompt_logprobs=prompt)


def _certain(words: list[str], ids: list[int], alternatives: int) -> list[TokenLogprob]:
    spelled = [
        Spelling(token_id, (" " if place else "") + word)
        for place, (word, token_id) in enumerate(zip(words, ids, strict=False))
    ]
    return [TokenLogprob(token, 0.0, [(0.0, token)][:alternatives]) for token in spelled]


def _answer(request: Request, now: float) -> _Answer:
    words = request.prompt.split()
    if request.adapter:
        words = [f"{request.adapter}:{word}" for word in words]
    outputs = [_continuation(request, words, sequence) for sequence in range(request.params.n)]
    return _Answer(request, now, outputs)


def _continuation(request: Request, words: list[str], sequence: int) -> Output:
    """The continuation number `sequence`, up to its end."""
    params, ids = request.params, request.prompt_ids
    if len(ids) != len(words):  # tokens of another tokenizer: number the words instead
        ids = list(range(len(words)))
    if params.temperature > 0 and len(words) > 1:
        first = _mix(request.seed, sequence) % len(words)
        words, ids = words[first:] + words[:first], ids[first:] + ids[:first]
    reason: FinishReason = "length"
    if not words or (len(words) < params.max_tokens and not params.ignore_eos):
        reason = "stop"
    elif len(words) != params.max_tokens:
        rounds = -(-params.max_tokens // len(words))
        words, ids = (words * rounds)[: params.max_tokens], (ids * rounds)[: params.max_tokens]
    text = " ".join(words)
    logprobs = _certain(words, ids, params.logprobs) if params.logprobs is not None else None
    cuts = [(at, at + len(stop)) for stop in params.stop if (at := text.find(stop)) >= 0]
    if cuts:
        # The stop string that is complete first ends the text; of two, the one that begins first.
        begin, end = min(cuts, key=lambda cut: (cut[1], cut[0]))
        count = len(text[:end].split())
        return Output(text[:begin], ids[:count], "stop", logprobs and logprobs[:count])
    return Output(text, list(ids), reason, logprobs)


def _mix(seed: int, sequence: int) -> int:
    """A hash of both, the same on every machine."""
    x = (seed * 0x9E3779B97F4A7C15 + sequence * 0xBF58476D1CE4E5B9 + 1) & 0xFFFFFFFFFFFFFFFF
    return (x ^ (x >> 29)) * 0x94D049BB133111EB >> 17 & 0xFFFFFFFF
