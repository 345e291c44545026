"""What a request whose texts were scored is answered with: a score for each continuation, or labels
drawn by their probabilities."""

from __future__ import annotations

import math

import numpy as np

from common.generation import (
    Choice,
    ContinuationScore,
    NewToken,
    Output,
    Request,
    Spelling,
    TokenLogprob,
)
from worker.engine.sampling.uniforms import uniforms
from worker.engine.scheduling.drawn import Score, spelled
from worker.engine.scheduling.scoring import END, Scoring, log_sum
from worker.engine.scheduling.text import Detokenizer, Speller


def refusal(
    request: Request, context: int, vocabulary: int, ends: frozenset[int]
) -> tuple[str, str] | None:
    """Why continuations or labels can never be scored, as `(code, message)`."""
    texts, prompt = request.continuations or [], len(request.prompt_ids)
    labels = request.params.scored_labels
    what = "continuation" if labels is None else "label"
    longest = max(map(len, texts), default=0) + (labels is not None)
    if prompt + longest > context:
        message = (
            f"This model's maximum context length is {context} tokens. However, you requested "
            f"{prompt + longest} tokens ({prompt} in the prompt, {longest} in the longest {what})."
        )
        return "context_length_exceeded", message
    why = None
    if empty := next((at for at, ids in enumerate(texts, 1) if not ids), None):
        why = f"{what} {empty} has no tokens"
    elif not prompt and labels is not None:
        why = "the prompt has no tokens"
    elif not prompt and (
        alone := next((at for at, ids in enumerate(texts, 1) if len(ids) < 2), None)
    ):
        why = f"continuation {alone} is one token, and nothing comes before it to score it by"
    elif labels is not None and not ends:
        why = "the model has no end token, so probabilities of labels are not known"
    elif labels is not None and longest > request.params.max_tokens:
        most = request.params.max_tokens
        why = f"a label has {longest} tokens with its end, and max_tokens is {most}"
    elif max((*request.prompt_ids, *(token for ids in texts for token in ids))) >= vocabulary:
        why = f"a token id is not below the vocabulary's size, {vocabulary}"
    return ("invalid_request", why) if why else None


def continuation_scores(
    request: Request, scoring: Scoring, detokenizer: Detokenizer
) -> list[ContinuationScore]:
    """In the order of the request's continuations."""
    sums, counts = [], []
    for scores in scoring.scores:
        known = [score.logprob for score in scores if score is not None]
        sums.append(math.fsum(known))
        counts.append(len(known))
    shares = probabilities(sums)
    per_token = probabilities([each / count for each, count in zip(sums, counts, strict=True)])
    wants = request.params.logprobs is not None
    return [
        ContinuationScore(
            sums[at],
            counts[at],
            shares[at],
            per_token[at],
            _logprobs(ids, scoring.scores[at], detokenizer) if wants else None,
        )
        for at, ids in enumerate(scoring.paths)
    ]


def chosen(
    request: Request, labels: tuple[str, ...], scoring: Scoring, detokenizer: Detokenizer
) -> list[Output]:
    """An output for each of the request's `n`, drawn by the labels' probabilities."""
    sums = [math.fsum(score.logprob for score in row if score) for row in scoring.scores]
    choices = [Choice(*each) for each in zip(labels, sums, probabilities(sums), strict=True)]
    outputs = []
    for index in range(request.params.n):
        at = pick(sums, request, index)
        scores = scoring.scores[at]
        wants = request.params.logprobs is not None
        logprobs = _logprobs(scoring.paths[at], scores, detokenizer) if wants else None
        ids = [score.token for score in scores if score]
        outputs.append(Output(labels[at], ids, "stop", logprobs, choices=choices))
        if request.on_token:
            _tell(request, index, outputs[-1])
    return outputs


def probabilities(logprobs: list[float]) -> list[float]:
    """The softmax; equal shares where none has any chance."""
    whole = log_sum(logprobs)
    if whole == -math.inf:
        return [1 / len(logprobs)] * len(logprobs)
    return [math.exp(each - whole) for each in logprobs]


def pick(logprobs: list[float], request: Request, index: int) -> int:
    """Which label output number `index` of the request gets: the likeliest if it is greedy, else
    one drawn by p^(1 / temperature), in the order of the labels."""
    params = request.params
    if params.is_greedy:
        return logprobs.index(max(logprobs))
    shares = probabilities([each / params.temperature for each in logprobs])
    (uniform,) = uniforms(np.array([request.seed]), np.array([index]), np.array([0])).tolist()
    reached = 0.0
    for at, share in enumerate(shares):
        reached += share
        if reached > uniform:
            return at
    return shares.index(max(shares))  # rounding put the sum below the number


def _logprobs(
    path: list[int], scores: list[Score | None], detokenizer: Detokenizer
) -> list[TokenLogprob]:
    """The scores of a text's tokens as users get them."""
    speller = Speller(detokenizer)
    found = []
    for token, score in zip(path, scores, strict=True):
        if score is None:
            found.append(TokenLogprob(speller.push(token), None, []))
        elif token == END:
            end = Spelling(score.token, detokenizer.spell(score.token).text, b"")
            found.append(spelled(score, end, detokenizer))
        else:
            found.append(spelled(score, speller.push(token), detokenizer))
    return found


def _tell(request: Request, index: int, output: Output) -> None:
    """Stream a label: its text comes with its first token."""
    assert request.on_token is not None
    for at, token in enumerate(output.token_ids):
        logprob = output.logprobs[at] if output.logprobs else None
        request.on_token(NewToken(index, token, output.text if at == 0 else "", logprob))
