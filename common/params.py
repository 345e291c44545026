"""Decoding parameters (`params`): what a job or an item chooses about how its text is generated.

Knows what a text may have to be (`output`) only by its type.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WrapValidator,
    model_validator,
)

from common.given import Given
from common.structured.output_format import OutputFormat

# Names of Hugging Face for parameters with other names here; refused with a hint.
OTHER_NAMES = {
    "max_new_tokens": "max_tokens",
    "max_length": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "min_new_tokens": "min_tokens",
    "num_return_sequences": "n",
    "do_sample": "temperature (0 is greedy)",
    "eos_token_id": "stop_token_ids",
    "stop_strings": "stop",
    "bad_words_ids": "bad_words",
}


def whole(value: Any) -> Any:
    """3.0 as 3, also in a list: JSON makes no difference, and a column of numbers with gaps in a
    table has floats."""
    if type(value) is list:
        return [whole(each) for each in value] if float in set(map(type, value)) else value
    return int(value) if type(value) is float and value.is_integer() else value


Whole = BeforeValidator(whole)  # beside an integer and its bounds

StopString = Annotated[str, StringConstraints(min_length=1, max_length=256)]
TokenId = Annotated[int, Field(ge=0, lt=2**31)]


def are_token_ids(value: Any) -> bool:
    """Whether `value` is a list of token ids. Checked at once: Pydantic would need seconds for a
    long prompt, and GBs for the list of all its errors."""
    return (
        type(value) is list
        and set(map(type, value)) == {int}
        and min(value) >= 0
        and max(value) < 2**31
    )


def _token_ids(value: Any, name_first_fault: Callable[[Any], Any]) -> Any:
    if not are_token_ids(value):
        value = whole(value)
    return value if are_token_ids(value) else name_first_fault(value)


TokenIds = Annotated[list[TokenId], Field(fail_fast=True), WrapValidator(_token_ids)]
Bias = Annotated[float, Field(ge=-100, le=100)]


GREEDY_BELOW = 1e-5  # temperature
SEED_HELP = (
    "The same seed gives the same text, except for ties that rounding decides, on models that the "
    "page Workers calls reproducible (card.reproducible in GET /v1/models); on others the text may "
    "also depend on what else runs. Empty: each item gets its own."
)


class Thinking(Given):
    """How a model that thinks before it answers may do so."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    max_tokens: Annotated[int, Whole] = Field(
        ge=0, le=131_072, description="Most tokens of thinking; then the answer begins."
    )


class SamplingParams(Given):
    """Decoding parameters, by vLLM's and OpenAI's names. The engine applies every field.

    `temperature: 0` is greedy. `top_k: 0` keeps all tokens. Without `seed` each item gets its own,
    which is in its result.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    max_tokens: int = Field(
        256, ge=1, le=131_072, description="Most tokens to generate per continuation."
    )
    temperature: float = Field(
        1.0, ge=0, le=100, description="0 is greedy; higher values are more random."
    )
    top_p: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Keep the most likely tokens whose probabilities add up to this.",
    )
    top_k: int = Field(
        0, ge=0, le=2**31 - 1, description="Keep this many of the most likely tokens; 0 keeps all."
    )
    min_p: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Drop tokens less likely than this share of the most likely one.",
    )
    seed: int | None = Field(None, ge=0, le=2**63 - 1, description=SEED_HELP)
    n: int = Field(1, ge=1, le=128, description="Number of continuations per prompt.")
    stop: tuple[StopString, ...] = Field(
        (),
        max_length=16,
        fail_fast=True,
        description="Strings that end the text; they are not part of it.",
    )
    repetition_penalty: float = Field(
        1.0,
        ge=0.01,
        le=10,
        description="Above 1 makes tokens of the prompt and the text less likely.",
    )
    presence_penalty: float = Field(
        0.0, ge=-2, le=2, description="Lowers the logit of every token already generated, once."
    )
    frequency_penalty: float = Field(
        0.0, ge=-2, le=2, description="Lowers the logit of a token for each time it was generated."
    )
    ignore_eos: bool = Field(
        False, description="Generate max_tokens tokens, even if the model ends earlier."
    )
    min_tokens: int = Field(
        0, ge=0, le=131_072, description="No end token before this many tokens are generated."
    )
    typical_p: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Keep the most typical tokens whose probabilities add up to this.",
    )
    stop_token_ids: tuple[TokenId, ...] = Field(
        (), max_length=64, fail_fast=True, description="Token ids that end the text."
    )
    no_repeat_ngram_size: int = Field(
        0, ge=0, le=64, description="No sequence of this many tokens appears twice; 0 allows all."
    )
    logit_bias: dict[TokenId, Bias] = Field(
        {}, max_length=300, description="What is added to the logits of tokens, by token id."
    )
    bad_words: tuple[StopString, ...] = Field(
        (),
        max_length=64,
        fail_fast=True,
        description="Words that are never generated as the tokens that they have at the start of a "
        "text or behind a space. Other tokens may still spell them, above all where `output` "
        "leaves no other text.",
    )
    logprobs: int | None = Field(
        None,
        ge=0,
        le=20,
        description="Return log-probabilities, with this many alternatives for each token.",
    )
    prompt_logprobs: int | None = Field(
        None, ge=0, le=20, description="The same for the tokens of the prompt."
    )
    output: OutputFormat | None = Field(
        None, description="What the text must be: JSON by a schema, a label, a pattern, a grammar."
    )
    thinking: Thinking | None = Field(
        None, description="How a model that thinks before it answers may do so."
    )

    @property
    def is_greedy(self) -> bool:
        """Whether only the most likely token is taken. At such temperatures no other has a chance,
        and dividing by them would overflow."""
        return self.temperature < GREEDY_BELOW

    @property
    def drops_nothing(self) -> bool:
        """Whether every token keeps its chance, or only the most likely one has any."""
        cuts = self.top_k or self.top_p < 1 or self.min_p or self.typical_p < 1
        return self.is_greedy or not cuts

    def under(self, own: SamplingParams) -> SamplingParams:
        """These with what `own` gives over them. Both were checked, and nothing is again: a job's
        output format may be long, and each of its items has it."""
        given = {
            name: getattr(params, name)
            for params in (self, own)
            for name in params.model_fields_set
        }
        return SamplingParams.model_construct(set(given), **given)

    @property
    def scored_labels(self) -> tuple[str, ...] | None:
        """The labels to choose from, where their probabilities are wanted: each is scored, and one
        is drawn by them."""
        output = self.output
        return output.choice if output is not None and output.probabilities else None

    @model_validator(mode="before")
    @classmethod
    def _accept_json_shapes(cls, data: Any) -> Any:
        """Accept JSON in strict mode, which wants tuples and integer keys. `stop` may be a single
        string."""
        if not isinstance(data, dict):
            return data
        data = {name: whole(value) if name in _INTEGERS else value for name, value in data.items()}
        for name in ("stop", "bad_words", "stop_token_ids"):
            if name in data:
                value = data[name]
                value = [value] if isinstance(value, str) else value
                data[name] = tuple(value) if isinstance(value, list) else value
        if isinstance(bias := data.get("logit_bias"), dict):
            data["logit_bias"] = {
                int(key) if isinstance(key, str) and key.isdecimal() else key: bias[key]
                for key in bias
            }
        return data


_INTEGERS = frozenset(
    name
    for name, field in SamplingParams.model_fields.items()
    if field.annotation in (int, int | None)
) | {"stop_token_ids"}

# Parameters that are objects with fields of their own: no cell of a table and no single field of a
# form holds one, and a column of that name is data like others.
OBJECTS = ("output", "thinking")
CELLS = tuple(name for name in SamplingParams.model_fields if name not in OBJECTS)


def is_neutral(name: str, value: Any) -> bool:
    """Whether a parameter with this value asks for nothing, so that every engine honours it: the
    defaults change no text."""
    return bool(value == SamplingParams.model_fields[name].default)


@lru_cache(maxsize=64)  # of models and engines; it is asked for each item
def lacked(honours: frozenset[str] | tuple[str, ...] | None) -> tuple[str, ...]:
    """The parameters that an engine lacks which honours these; None: it honours all. `output` and
    `thinking` are among a model's features."""
    return tuple(name for name in CELLS if honours is not None and name not in honours)


def not_honoured(
    params: SamplingParams, honours: frozenset[str] | tuple[str, ...] | None
) -> list[str]:
    """The parameters that are asked for and that such an engine lacks."""
    missing = lacked(honours)
    return [name for name in missing if not is_neutral(name, getattr(params, name))]
