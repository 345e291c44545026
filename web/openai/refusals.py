"""Fields of OpenAI's and vLLM's requests that are not honoured here: ignored where they change
nothing, else refused.

Fields that are honoured are in the request models (`requests.py`). Every other field of the
client's request types and of vLLM's is in one of the tables below, with the values that would not
change the answer and why others are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Request = Mapping[str, Any]  # the object that the field stands in, as it was sent

TOOLS = "tools are not supported"
FORMAT = "only text is generated; the output cannot be held to a format"
ANSWER = "answers have nothing like it"
PROMPT = "the prompt is rendered by the model's own template, as it is sent"


def _only(*values: Any) -> Callable[[Any, Request], bool]:
    """True for these values; 1 is not True here."""
    return lambda value, _: any(type(value) is type(each) and value == each for each in values)


def _any(_value: Any, _request: Request) -> bool:
    return True


def _empty(value: Any, _request: Request) -> bool:
    """True for what says nothing: an empty list or object, or one of nulls."""
    values = (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
    )
    return all(each is None for each in values)


def _without_tools(value: Any, request: Request) -> bool:
    return value == [] or request.get("tool_choice") == "none"


def _without_functions(value: Any, request: Request) -> bool:
    return value == [] or request.get("function_call") == "none"


def _without_stream(_value: Any, request: Request) -> bool:
    return request.get("stream") is not True


def _beside_the_newer_name(_value: Any, request: Request) -> bool:
    return request.get("max_completion_tokens") is not None


@dataclass(frozen=True)
class Rule:
    """`changes_nothing` looks at a value and its request; other values are refused with `why`, or
    honoured without."""

    changes_nothing: Callable[[Any, Request], bool]
    why: str | None = None


BOTH = {
    # OpenAI's
    "best_of": Rule(_any),  # every continuation is returned, n of them
    "prompt_cache_key": Rule(_any),  # equal prefixes are reused by themselves
    "prompt_cache_options": Rule(_any),
    "prompt_cache_retention": Rule(_any),
    "response_format": Rule(_only({"type": "text"}), FORMAT),
    "service_tier": Rule(_any),  # there is one
    "store": Rule(_any),  # answers are not kept
    "stream_options": Rule(_without_stream),
    # vLLM's
    "allowed_token_ids": Rule(_empty, "give logit_bias"),
    "cache_salt": Rule(_any),
    "detokenize": Rule(_only(True), "answers are text"),
    "early_stopping": Rule(_any),  # of beam search
    "ec_transfer_params": Rule(_empty, "workers hand no caches to each other"),
    "guided_choice": Rule(_empty, FORMAT),
    "guided_decoding_backend": Rule(_any),  # nothing without one of the others
    "guided_grammar": Rule(_empty, FORMAT),
    "guided_json": Rule(_only(), FORMAT),
    "guided_regex": Rule(_empty, FORMAT),
    "guided_whitespace_pattern": Rule(_any),
    "include_stop_str_in_output": Rule(_only(False), "a stop string is no part of the text"),
    "kv_transfer_params": Rule(_empty, "workers hand no caches to each other"),
    "length_penalty": Rule(_any),  # of beam search
    "logits_processors": Rule(_empty, "no code of a request is run"),
    "mm_processor_kwargs": Rule(_any),  # nothing without media
    "priority": Rule(_any),  # chats go before batches, in the order in which they come
    "prompt_embeds": Rule(_empty, "give prompt"),
    "repetition_detection": Rule(_empty, "give no_repeat_ngram_size or repetition_penalty"),
    "request_id": Rule(_any),
    "return_prompt_text": Rule(_only(False), ANSWER),
    "return_token_ids": Rule(_only(False), ANSWER),
    "return_token_offsets": Rule(_any),  # vLLM's chats and completions do not read it either
    "return_tokens_as_token_ids": Rule(_only(False), ANSWER),
    "skip_special_tokens": Rule(_only(True), "special tokens are no part of the text"),
    "spaces_between_special_tokens": Rule(_any),  # special tokens are not shown
    "structural_tag": Rule(_empty, FORMAT),
    "structured_outputs": Rule(_empty, FORMAT),
    "thinking_token_budget": Rule(
        _only(-1), "give what the model's chat template reads as chat_template_kwargs"
    ),
    "truncate_prompt_tokens": Rule(_empty, "nothing is cut off; send what fits"),
    "truncation_side": Rule(_any),  # nothing without truncate_prompt_tokens
    "use_beam_search": Rule(_only(False), "continuations are sampled"),
    "vllm_xargs": Rule(_empty, "there are no extensions"),
}
CHAT = BOTH | {
    # OpenAI's
    "audio": Rule(_empty, "audio is not generated here"),
    "function_call": Rule(_only("none", "auto"), "functions are not supported"),
    "functions": Rule(_without_functions, "functions are not supported"),
    "max_tokens": Rule(_beside_the_newer_name),
    "modalities": Rule(_only(["text"], []), "only text is generated here"),
    "moderation": Rule(_empty, "nothing is moderated here"),
    "parallel_tool_calls": Rule(_any),  # there are no tools
    "prediction": Rule(_any),  # it only makes OpenAI's answers faster
    "reasoning_effort": Rule(_any),  # what a template reads goes into chat_template_kwargs
    "tool_choice": Rule(_only("none", "auto"), TOOLS),
    "tools": Rule(_without_tools, TOOLS),
    "verbosity": Rule(_only("medium"), "no model here can be told how much to say"),
    "web_search_options": Rule(_empty, "there is no web search"),
    # vLLM's
    "add_generation_prompt": Rule(_only(True), PROMPT),
    "add_special_tokens": Rule(_only(False), PROMPT),
    "chat_template": Rule(_empty, "the model's own template renders the chat"),
    "continue_final_message": Rule(_only(False), "send a completion to go on from a text"),
    "documents": Rule(_empty, "put them into a message"),
    "echo": Rule(_only(False), "send a completion for that"),
    "enable_thinking": Rule(_empty, 'give chat_template_kwargs: {"enable_thinking": …}'),
    "include_reasoning": Rule(
        _only(True), "reasoning is not told apart from the rest of an answer"
    ),
    "media_io_kwargs": Rule(_any),  # nothing without media
    "return_assistant_tokens_mask": Rule(_any),  # vLLM's chats do not read it either
}
COMPLETION = BOTH | {
    "add_special_tokens": Rule(_only(True), "send token ids for a prompt without special tokens"),
    "suffix": Rule(_only(""), "nothing can be inserted before a suffix"),
}
MESSAGE = {
    "annotations": Rule(_empty, "annotations are not read"),
    "audio": Rule(_empty, "audio is not read"),
    "function_call": Rule(_empty, "functions are not supported"),
    "name": Rule(_any),  # chat templates know no names of participants
    "refusal": Rule(_empty, "refusals are not read; put the text into content"),
    "tool_calls": Rule(_empty, TOOLS),
}
STREAM_OPTIONS = {
    "include_obfuscation": Rule(_any),  # nothing is padded, which only OpenAI does
}
