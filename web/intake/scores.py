"""Items of which given texts are scored: their continuations, or labels whose probabilities are
wanted. Whether that can be had, and how many tokens it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from common.cooperate import Steps
from common.errors import InvalidRequest
from common.params import SamplingParams
from common.types import ModelCard
from web.intake.counting import count_tokens, is_too_long
from web.intake.faults import Fault, overflow
from web.schemas.fields import MOST_CONTINUATIONS
from web.schemas.requests import Item
from web.services.models import Model

TEXT_BYTES = 64  # what a text's score takes in a stored result, besides its tokens
# What means something where nothing is generated, and where a label is drawn.
SCORED_BY = {"logprobs", "prompt_logprobs"}
CHOSEN_BY = SCORED_BY | {"output", "temperature", "seed", "n", "max_tokens"}


@dataclass(frozen=True, slots=True)
class Scored:
    """What an item has scored: the tokens of each of its texts, of each label with its end. None
    where only the worker can count."""

    texts: int
    counts: list[int] | None
    are_labels: bool = False

    @property
    def tokens(self) -> int:
        return sum(self.counts or ())


class Scores:
    """The texts that one job's items have scored. `any_labels` and `any_continuations` say whether
    an item has some."""

    def __init__(self, model: Model):
        self._model = model
        self.any_labels = self.any_continuations = False
        self._last: tuple[Sequence[str], list[int]] = ((), [])  # mostly the next item's, too
        self._steps = Steps()

    def of(self, item: Item, params: SamplingParams) -> Scored | None:
        """What of the item is scored, by the params that take effect; None if it generates text.

        Raises:
            Fault: the model cannot do that, or something else of the item cannot go with it.
        """
        labels = params.scored_labels
        if item.continuations is None and labels is None:
            return None
        card = self._model.card
        field = "params.output.probabilities" if item.continuations is None else "continuations"
        if "continuations" not in card.features:
            message = f"engine {card.engine}, which runs {card.id}, cannot score given texts"
            raise Fault("unsupported", field, message)
        self._refuse_others(item, params)
        if item.continuations is not None:
            self.any_continuations = True
            return self._scored(item.continuations, field)
        self.any_labels = True
        assert labels is not None
        if len(labels) > MOST_CONTINUATIONS:
            message = (
                f"params.output.choice has {len(labels):,} labels; with probabilities it may have "
                f"{MOST_CONTINUATIONS}, because each is scored"
            )
            raise Fault("out_of_range", "params.output.choice", message)
        return self._scored(labels, "params.output.choice", are_labels=True)

    def _scored(self, texts: Sequence[str], field: str, are_labels: bool = False) -> Scored:
        counts = self._counts(texts, field)
        if counts is not None and 0 in counts:
            place = counts.index(0)
            raise Fault("invalid_value", f"{field}.{place}", "the text has no tokens of the model")
        if counts is not None and are_labels:
            counts = [count + 1 for count in counts]
        return Scored(len(texts), counts, are_labels)

    def _counts(self, texts: Sequence[str], field: str) -> list[int] | None:
        """How many tokens each text has. None where only the worker can count."""
        tokenizer, context = self._model.tokenizer, self._model.card.context
        if tokenizer is None:
            return None
        if self._last[0] != texts:
            for place, text in enumerate(texts):
                if is_too_long(tokenizer, text, context):
                    what = f"text {place + 1} of {field} has {len(text):,} characters"
                    raise overflow(context, f"{what}, which are more tokens than that.", field)
            self._last = texts, count_tokens(tokenizer, list(texts), special=False)
            self._steps.step()
        return self._last[1]

    def _refuse_others(self, item: Item, params: SamplingParams) -> None:
        """Refuse what would be without effect, as far as the item or its job gives it."""
        scores = item.continuations is not None
        if scores and item.stream:
            message = "nothing is generated behind continuations: leave stream out"
            raise Fault("invalid_value", "stream", message)
        if scores and item.tools is not None and item.tools.is_forced:
            message = "no function is called where continuations are scored: leave choice out"
            raise Fault("invalid_value", "tools.choice", message)
        own = item.params.model_fields_set if item.params else frozenset[str]()
        name = self._without_effect(params, scores)
        if name in own:
            message = f"{name} has no effect: {_why(scores)}; leave it out"
            raise Fault("invalid_value", f"params.{name}", message)
        if name is not None:
            raise Fault("invalid_value", f"params.{name}", _of_job(name, scores))

    def check_job(self, params: SamplingParams) -> None:
        """Check other parameters of a job whose items were checked with its own.

        Raises:
            InvalidRequest: some would be without effect.
        """
        for scores, there in ((True, self.any_continuations), (False, self.any_labels)):
            name = self._without_effect(params, scores) if there else None
            if name is not None:
                message = _of_job(name, scores)
                raise InvalidRequest(message, code="invalid_value", field=f"params.{name}")

    def _without_effect(self, params: SamplingParams, scores: bool) -> str | None:
        """The first parameter that was given and means nothing: where `scores`, to continuations,
        else to labels with probabilities."""
        others = params.model_fields_set - (SCORED_BY if scores else CHOSEN_BY)
        card = self._model.card
        return next((name for name in sorted(others) if _means_something(name, params, card)), None)


def _why(scores: bool) -> str:
    if scores:
        return "an item with continuations generates no text"
    return "a label with probabilities is drawn by these alone, at the temperature"


def _of_job(name: str, scores: bool) -> str:
    return (
        f"{name} has no effect: {_why(scores)}; leave it out of the job's params, give it to the "
        "items that generate text, or submit those as a job of their own"
    )


def check_fit(
    scored: Scored, max_tokens: int, tokens: int | None, card: ModelCard, most: int
) -> None:
    """Raise `Fault` where an item's texts do not fit behind its prompt of so many tokens, have more
    than `most` with it, or cannot be scored behind it. `max_tokens` is what the item has, by which
    labels are bounded."""
    if scored.counts is None or tokens is None:
        return
    longest = max(scored.counts)
    field = "params.output.choice" if scored.are_labels else "continuations"
    what = "label with its end" if scored.are_labels else "continuation"
    if tokens + longest > card.context:
        told = (
            f"you requested {tokens + longest} tokens ({tokens} in the prompt, {longest} in the "
            f"longest {what}). Please reduce their length."
        )
        raise overflow(card.context, told, field)
    if scored.are_labels and longest > max_tokens:
        message = f"max_tokens is {max_tokens:,}, but the longest {what} has {longest:,} tokens"
        raise Fault("out_of_range", "params.max_tokens", message)
    if tokens + scored.tokens > most:
        message = (
            f"prompt and texts to be scored have {tokens + scored.tokens:,} tokens; an item may "
            f"have {most:,}"
        )
        raise Fault("too_many_tokens", field, message)
    if not tokens and min(scored.counts) == 1:
        place = scored.counts.index(1)
        message = (
            "the text is one token, and without a prompt nothing comes before it to score it by"
        )
        raise Fault("invalid_value", f"{field}.{place}", message)


def _means_something(name: str, params: SamplingParams, card: ModelCard) -> bool:
    """Whether a parameter was given that changes something: neither as it is by itself, nor what
    the model's card gives."""
    value, field = getattr(params, name), SamplingParams.model_fields[name]
    if name == "output" and value is not None and value.kind == "text":
        return False
    if value == field.get_default(call_default_factory=True):
        return False
    given = params.model_dump(mode="json", include={name})[name]
    return name not in card.defaults or given != card.defaults[name]
