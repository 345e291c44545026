"""Whether an item fits its model and the limits: its parameters, its tokens, its continuations, its
token ids."""

from __future__ import annotations

from common.params import SamplingParams, not_honoured
from common.types import ModelCard
from web.intake.faults import Fault, overflow
from web.schemas.requests import Item


def fitting_max_tokens(
    params: SamplingParams, tokens: int | None, context: int, default: int | None
) -> int:
    """How many tokens may be generated. What was not given is the default, as far as it fits.

    Raises:
        Fault: the prompt does not fit, or with it not what was asked for.
    """
    given = "max_tokens" in params.model_fields_set
    wanted = params.max_tokens if given else default or params.max_tokens
    if tokens is None:
        return wanted
    if tokens == 0:
        raise Fault("empty_prompt", "prompt", "the prompt has no tokens")
    room = context - tokens
    if room < 1:
        what = (
            f"your prompt has {tokens} tokens, and one must be left for the answer. Please "
            "reduce its length."
        )
        raise overflow(context, what, "prompt")
    if not given:
        return min(wanted, room)
    if wanted > room:
        what = (
            f"you requested {tokens + wanted} tokens ({tokens} in the prompt, {wanted} in the "
            f"completion). Please reduce the length of the prompt, or of the completion to at most "
            f"{room} tokens."
        )
        raise overflow(context, what, "params.max_tokens")
    return wanted


def check_size(
    params: SamplingParams, max_tokens: int, tokens: int, card: ModelCard, most_tokens: int
) -> None:
    """Raise `Fault` where an item asks for more than the model runs at once, or than `most_tokens`
    in all."""
    n = params.n
    if params.min_tokens > max_tokens:
        whose = (
            "max_tokens"
            if "max_tokens" in params.model_fields_set
            else "max_tokens, which was not given,"
        )
        message = (
            f"min_tokens is {params.min_tokens:,}, but {whose} is {max_tokens:,}; it "
            "may be at most that"
        )
        raise Fault("out_of_range", "params.min_tokens", message)
    if n > card.slots:
        message = f"n is {n}; {card.id} runs at most {card.slots} continuations at once"
        raise Fault("out_of_range", "params.n", message)
    if n * (tokens + max_tokens) > most_tokens:
        message = (
            f"n x (prompt + max_tokens) is {n * (tokens + max_tokens):,} tokens; an "
            f"item may have {most_tokens:,}"
        )
        raise Fault("too_many_tokens", "params.max_tokens", message)


def check_job(params: SamplingParams, card: ModelCard) -> None:
    """Raise `InvalidRequest` where a job's own parameters ask for one that the engine lacks."""
    try:
        _check_honoured(params, card)
    except Fault as fault:
        raise fault.of_job() from None


def check_model(item: Item, params: SamplingParams, card: ModelCard) -> None:
    """Raise `Fault` for what the model does not have: a parameter that its engine lacks, or a token
    id."""
    _check_honoured(params, card)
    if card.vocabulary is None:
        return
    asked = (
        ("prompt_ids", item.prompt_ids or ()),
        ("params.stop_token_ids", params.stop_token_ids),
        ("params.logit_bias", params.logit_bias),
    )
    for name, ids in asked:
        if (highest := max(ids, default=0)) >= card.vocabulary:
            message = (
                f"token id {highest} is none of {card.id}'s, which are below {card.vocabulary:,}"
            )
            raise Fault("out_of_range", name, message)


def _check_honoured(params: SamplingParams, card: ModelCard) -> None:
    """Raise `Fault` for parameters that the engine lacks, unless their values ask for nothing."""
    if names := not_honoured(params, card.params):
        message = (
            f"engine {card.engine}, which runs {card.id}, has no {', '.join(names)}: leave "
            f"{'it' if len(names) == 1 else 'them'} out, or take another model"
        )
        raise Fault("unsupported", f"params.{names[0]}", message)
