"""Every metric by its name, and which of them a request means."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from common.types import JsonObject
from evals import answers, bleu, chrf, forms, number_match, perplexity, rouge
from evals.bleu_words import TOKENIZERS
from evals.metric import Metric, itself

_ALL = (
    Metric(
        name="bleu",
        meaning="How many runs of one to four words of the outputs are in a reference, over the"
        " whole job, with a penalty for outputs that are too short.",
        columns=bleu.COLUMNS,
        measure=bleu.measure,
        score=bleu.score,
        alone=bleu.score_alone,
        alone_name="bleu_sentence",
        signature=bleu.signature,
        needs="references",
        high=100.0,
        mean=False,
    ),
    Metric(
        name="chrf",
        meaning="How many runs of one to six characters outputs and references share, over the"
        " whole job; recall counts more than precision.",
        columns=chrf.COLUMNS,
        measure=chrf.measure,
        score=chrf.score,
        signature=chrf.signature,
        needs="references",
        high=100.0,
        mean=False,
    ),
    Metric(
        name="rouge_1",
        meaning="F1 of the words that output and reference share.",
        columns=("f1",),
        measure=rouge.measure_ngrams(1),
        score=itself,
        needs="references",
    ),
    Metric(
        name="rouge_2",
        meaning="F1 of the pairs of neighbouring words that output and reference share.",
        columns=("f1",),
        measure=rouge.measure_ngrams(2),
        score=itself,
        needs="references",
    ),
    Metric(
        name="rouge_l",
        meaning="F1 of the longest sequence of words that output and reference have in common, in"
        " the same order, not necessarily next to each other.",
        columns=("f1",),
        measure=rouge.measure_lcs,
        score=itself,
        needs="references",
    ),
    Metric(
        name="token_f1",
        meaning="F1 of the words that answer and reference share, without case, punctuation and"
        " articles.",
        columns=("f1",),
        measure=answers.measure_token_f1,
        score=itself,
        needs="references",
    ),
    Metric(
        name="exact_match",
        meaning="Whether the answer is a reference, but for case, punctuation, articles and white"
        " space.",
        columns=("match",),
        measure=answers.measure_exact_match,
        score=itself,
        needs="references",
        binary=True,
    ),
    Metric(
        name="contains",
        meaning="Whether the words of a reference stand in the output, one after the other.",
        columns=("match",),
        measure=answers.measure_contains,
        score=itself,
        needs="references",
        binary=True,
    ),
    Metric(
        name="number_match",
        meaning="Whether the last number of the output is the last number of a reference.",
        columns=("match",),
        measure=number_match.measure,
        score=itself,
        needs="references",
        binary=True,
    ),
    Metric(
        name="json_valid",
        meaning="Whether the output is JSON and, where the job has a schema, fits it.",
        columns=("valid",),
        measure=forms.measure_json_valid,
        score=itself,
        binary=True,
    ),
    Metric(
        name="length_tokens",
        meaning="How many of the model's tokens the output has.",
        columns=("length",),
        measure=forms.measure_length_tokens,
        score=itself,
        needs="token_counts",
        better=None,
        high=None,
    ),
    Metric(
        name="length_chars",
        meaning="How many characters the output has.",
        columns=("length",),
        measure=forms.measure_length_chars,
        score=itself,
        better=None,
        high=None,
    ),
    Metric(
        name="distinct_1",
        meaning="Different words of the output by all its words.",
        columns=("share",),
        measure=forms.measure_distinct(1),
        score=itself,
    ),
    Metric(
        name="distinct_2",
        meaning="Different pairs of neighbouring words of the output by all its pairs.",
        columns=("share",),
        measure=forms.measure_distinct(2),
        score=itself,
    ),
    Metric(
        name="repetition",
        meaning="The share of the output's runs of four words that occur earlier in it.",
        columns=("share",),
        measure=forms.measure_repetition,
        score=itself,
        better="lower",
    ),
    Metric(
        name="perplexity",
        meaning="Among how many equally likely tokens the model chose, on average, as far as its"
        " own probabilities tell.",
        columns=perplexity.COLUMNS,
        measure=perplexity.measure,
        score=perplexity.score,
        needs="logprobs",
        better="lower",
        low=1.0,
        high=None,
        mean=False,
    ),
)
METRICS: dict[str, Metric] = {metric.name: metric for metric in _ALL}
# Of a job with references whose request and preset name none: one that needs no words, one of the
# content, two for short answers, and the length that the others are to be read beside.
DEFAULT = ("chrf", "rouge_l", "token_f1", "exact_match", "length_tokens")


class UnknownMetric(ValueError):
    """A request names a metric, or an option of one, that there is not. `place` is its position in
    the list."""

    def __init__(self, place: int, message: str):
        super().__init__(message)
        self.place = place


@dataclass(frozen=True)
class Choice:
    """The metrics of an evaluation. `tokenizer` is BLEU's if the request says one."""

    metrics: tuple[Metric, ...]
    tokenizer: str | None = None


def choose(wanted: Sequence[str | JsonObject]) -> Choice:
    """What a list like `["rouge_l", {"name": "bleu", "tokenize": "zh"}]` means, each metric once.

    Raises UnknownMetric.
    """
    chosen: dict[str, Metric] = {}
    tokenizer: str | None = None
    for place, entry in enumerate(wanted):
        options = {"name": entry} if isinstance(entry, str) else dict(entry)
        name = options.pop("name", None)
        if not isinstance(name, str) or name not in METRICS:
            raise UnknownMetric(place, _unknown("metric", name, list(METRICS)))
        if name == "bleu" and "tokenize" in options:
            tokenizer = options.pop("tokenize")
            if not isinstance(tokenizer, str) or tokenizer not in TOKENIZERS:
                raise UnknownMetric(place, _unknown("tokenizer", tokenizer, list(TOKENIZERS)))
        if options:
            raise UnknownMetric(place, f"{name} has no option {str(next(iter(options)))[:50]!r}")
        if name in chosen:
            raise UnknownMetric(place, f"{name} is there twice")
        chosen[name] = METRICS[name]
    return Choice(tuple(chosen.values()), tokenizer)


def _unknown(kind: str, name: object, names: list[str]) -> str:
    close = difflib.get_close_matches(str(name)[:50], names, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(names)}"
    return f"there is no {kind} {str(name)[:50]!r}: {hint}"
