"""The fields of OpenAI's and vLLM's requests that are not supported here: ignored where they have
no effect, else refused.

Supported fields are in the request models (`requests.py`). Every other field of the request types
of OpenAI's client and of vLLM is in one of the tables below, with the values that have no effect
and why others are refused. `field_filter.py` applies the tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import JsonValue

Parent = Mapping[str, JsonValue]  # the object that the field is in, as it was sent

FUNCTIONS = "functions are called tools by now: give tools and tool_choice"
TAGS = "give response_format, or tools"
ANSWER = "answers have no such field"
PROMPT = "the prompt is rendered by the model's own template, as it is sent"


def _only(*values: Any) -> Callable[[Any, Parent], bool]:
    """True for these values; 1 does not count as True."""
    return lambda value, _: any(type(value) is type(each) and value == each for each in values)


def _any(_value: Any, _parent: Parent) -> bool:
    return True


def _empty(value: Any, _parent: Parent) -> bool:
    """True for an empty list or object, or one that has only nulls."""
    values = (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
    )
    return all(each is None for each in values)


def _without_tools(value: Any, parent: Parent) -> bool:
    return value == [] or parent.get("tool_choice") == "none"


def _has_tools(parent: Parent) -> bool:
    return bool(parent.get("tools")) and parent.get("tool_choice") != "none"


def _no_choice(value: Any, parent: Parent) -> bool:
    return value == "none" or (value == "auto" and not _has_tools(parent))


def _only_with_tools(_value: Any, parent: Parent) -> bool:
    return not _has_tools(parent)


def _without_functions(value: Any, parent: Parent) -> bool:
    return value == [] or parent.get("function_call") == "none"


def _without_stream(_value: Any, parent: Parent) -> bool:
    return parent.get("stream") is not True


def _beside_max_completion_tokens(_value: Any, parent: Parent) -> bool:
    return parent.get("max_completion_tokens") is not None


@dataclass(frozen=True)
class FieldRule:
    """`has_no_effect` decides by the value and the object it is in whether the field is ignored.
    Other values are refused with the reason `refusal`; without one they are supported."""

    has_no_effect: Callable[[Any, Parent], bool]
    refusal: str | None = None


BOTH = {
    # OpenAI's
    "best_of": FieldRule(_any),  # every continuation is returned, n of them
    "prompt_cache_key": FieldRule(_any),  # equal prefixes are reused by themselves
    "prompt_cache_options": FieldRule(_any),
    "prompt_cache_retention": FieldRule(_any),
    "service_tier": FieldRule(_any),  # there is one
    "store": FieldRule(_any),  # answers are not kept
    "stream_options": FieldRule(_without_stream),
    # vLLM's
    "allowed_token_ids": FieldRule(_empty, "give logit_bias"),
    "cache_salt": FieldRule(_any),
    "detokenize": FieldRule(_only(True), "answers are text"),
    "early_stopping": FieldRule(_any),  # of beam search
    "ec_transfer_params": FieldRule(_empty, "workers hand no caches to each other"),
    "guided_decoding_backend": FieldRule(_any),  # there is one
    "guided_whitespace_pattern": FieldRule(_any),  # JSON has the white space that models write
    "include_stop_str_in_output": FieldRule(_only(False), "a stop string is no part of the text"),
    "kv_transfer_params": FieldRule(_empty, "workers hand no caches to each other"),
    "length_penalty": FieldRule(_any),  # of beam search
    "logits_processors": FieldRule(_empty, "no code of a request is run"),
    "mm_processor_kwargs": FieldRule(_any),  # nothing without media
    "priority": FieldRule(_any),  # chats go before batches, in the order in which they come
    "prompt_embeds": FieldRule(_empty, "give prompt"),
    "repetition_detection": FieldRule(_empty, "give no_repeat_ngram_size or repetition_penalty"),
    "request_id": FieldRule(_any),
    "return_prompt_text": FieldRule(_only(False), ANSWER),
    "return_token_ids": FieldRule(_only(False), ANSWER),
    "return_token_offsets": FieldRule(_any),  # vLLM's chats and completions do not read it either
    "return_tokens_as_token_ids": FieldRule(_only(False), ANSWER),
    "skip_special_tokens": FieldRule(_only(True), "special tokens are no part of the text"),
    "spaces_between_special_tokens": FieldRule(_any),  # special tokens are not shown
    "structural_tag": FieldRule(_empty, TAGS),
    "structured_outputs": FieldRule(_empty),
    "truncate_prompt_tokens": FieldRule(_empty, "nothing is cut off; send what fits"),
    "truncation_side": FieldRule(_any),  # nothing without truncate_prompt_tokens
    "use_beam_search": FieldRule(_only(False), "continuations are sampled"),
    "vllm_xargs": FieldRule(_empty, "there are no extensions"),
}
CHAT = BOTH | {
    # OpenAI's
    "audio": FieldRule(_empty, "audio is not generated here"),
    "function_call": FieldRule(_only("none", "auto"), FUNCTIONS),
    "functions": FieldRule(_without_functions, FUNCTIONS),
    "max_tokens": FieldRule(_beside_max_completion_tokens),
    "modalities": FieldRule(_only(["text"], []), "only text is generated here"),
    "moderation": FieldRule(_empty, "nothing is moderated here"),
    "parallel_tool_calls": FieldRule(_only_with_tools),
    "prediction": FieldRule(_any),  # it only makes OpenAI's answers faster
    "reasoning_effort": FieldRule(_any),  # what a template reads goes into chat_template_kwargs
    "thinking_token_budget": FieldRule(_only(-1)),
    "tool_choice": FieldRule(_no_choice),
    "tools": FieldRule(_without_tools),
    "verbosity": FieldRule(_only("medium"), "models here have no setting for how much to say"),
    "web_search_options": FieldRule(_empty, "there is no web search"),
    # vLLM's
    "add_generation_prompt": FieldRule(_only(True), PROMPT),
    "add_special_tokens": FieldRule(_only(False), PROMPT),
    "chat_template": FieldRule(_empty, "the model's own template renders the chat"),
    "continue_final_message": FieldRule(_only(False), "send a completion to go on from a text"),
    "documents": FieldRule(_empty, "put them into a message"),
    "echo": FieldRule(_only(False), "send a completion for that"),
    "enable_thinking": FieldRule(_empty, 'give chat_template_kwargs: {"enable_thinking": …}'),
    "media_io_kwargs": FieldRule(_any),  # nothing without media
    "return_assistant_tokens_mask": FieldRule(_any),  # vLLM's chats do not read it either
}
COMPLETION = BOTH | {
    "add_special_tokens": FieldRule(
        _only(True), "send token ids for a prompt without special tokens"
    ),
    "suffix": FieldRule(_only(""), "nothing can be inserted before a suffix"),
    "thinking": FieldRule(_empty, "thoughts are told apart in chats only"),
    "thinking_token_budget": FieldRule(_only(-1), "thoughts are told apart in chats only"),
}
MESSAGE = {
    "annotations": FieldRule(_empty, "annotations are not read"),
    "audio": FieldRule(_empty, "audio is not read"),
    "function_call": FieldRule(_empty, FUNCTIONS),
    "name": FieldRule(_any),  # chat templates know no names of participants
    "reasoning": FieldRule(_any),  # of an answer that is sent back: templates leave it out
    "reasoning_content": FieldRule(_any),
    "refusal": FieldRule(_empty, "refusals are not read; put the text into content"),
    "tool_calls": FieldRule(_empty),
}


@dataclass(frozen=True)
class Inside:
    """An object inside a request, or a list of such: the fields that are supported, the rules of
    others, and the objects inside it. One of another `kind` is left to the models, which refuse
    it."""

    supported: tuple[str, ...]
    rules: Mapping[str, FieldRule] = field(default_factory=dict)
    inside: Mapping[str, Inside] = field(default_factory=dict)
    is_kind: Callable[[Parent], bool] = lambda _: True


INSIDE = {
    "messages": Inside(
        ("role", "content", "tool_calls", "tool_call_id"),
        MESSAGE,
        {
            "content": Inside(("type", "text"), is_kind=lambda part: part.get("type") == "text"),
            "tool_calls": Inside(
                ("id", "type", "function"),
                {"index": FieldRule(_any)},  # of a stream's deltas
                {"function": Inside(("name", "arguments"))},
                is_kind=lambda call: call.get("type") in (None, "function"),
            ),
        },
        is_kind=lambda message: message.get("role") != "function",
    ),
    "response_format": Inside(
        ("type", "json_schema"),
        inside={
            "json_schema": Inside(
                ("name", "schema", "strict"),
                {"description": FieldRule(_any)},  # the prompt is rendered as it is sent
            )
        },
        is_kind=lambda given: given.get("type") in ("text", "json_object", "json_schema"),
    ),
    "stream_options": Inside(
        ("include_usage", "continuous_usage_stats"),
        {"include_obfuscation": FieldRule(_any)},  # nothing is padded, which only OpenAI does
    ),
    "structured_outputs": Inside(
        ("json", "regex", "choice", "grammar", "json_object"),
        {
            "disable_additional_properties": FieldRule(
                _only(False), 'write "additionalProperties": false into the schema'
            ),
            "disable_any_whitespace": FieldRule(_only(False), "JSON may have white space"),
            "disable_fallback": FieldRule(_any),  # there is one backend
            "structural_tag": FieldRule(_empty, TAGS),
            "whitespace_pattern": FieldRule(_empty, "JSON has the white space that models write"),
        },
    ),
    "tools": Inside(
        ("type", "function"),
        inside={"function": Inside(("name", "description", "parameters", "strict"))},
        is_kind=lambda tool: tool.get("type") == "function",
    ),
}
