"""What OpenAI's requests may say that is not done here: refused by name, except for values that ask for nothing.

Every field of the client's request types is in a request model; of those, the ones listed here are refused.
"""

from __future__ import annotations

from typing import Any

from web.schemas import refuse

# field -> (values besides null that ask for nothing, why all others are refused)
REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {
    "audio": ((), "audio is not generated here"),
    "best_of": ((), "give n alone: every continuation is returned"),
    "function_call": (("none", "auto"), "functions are not supported"),
    "functions": (([],), "functions are not supported"),
    "modalities": ((["text"],), "only text is generated here"),
    "moderation": ((), "nothing is moderated here"),
    "prediction": ((), "predicted outputs are not supported"),
    "prompt_cache_options": ((), "equal prompt prefixes are reused by themselves"),
    "prompt_cache_retention": (("in_memory",), "prefixes are kept in memory only"),
    "reasoning_effort": (("none",), "give what the model's chat template reads as chat_template_kwargs"),
    "response_format": (({"type": "text"},), "only text is generated; the output cannot be held to a format"),
    "service_tier": (("auto", "default"), "there is one tier"),
    "store": ((False,), "completions are not stored; submit a job to keep its results"),
    "suffix": (("",), "nothing can be inserted before a suffix"),
    "tool_choice": (("none", "auto"), "tools are not supported"),
    "tools": (([],), "tools are not supported"),
    "verbosity": (("medium",), "no model here can be told how much to say"),
    "web_search_options": ((), "there is no web search"),
    # of a message
    "annotations": (([],), "annotations are not read"),
    "name": ((), "chat templates know no names of participants"),
    "refusal": ((), "refusals are not read; put the text into content"),
    "tool_calls": (([],), "tools are not supported"),
}


def check(field: str, value: Any) -> Any:
    """The value, if it asks for nothing."""
    neutral, why = REFUSED[field]
    if value is None or any(type(value) is type(each) and value == each for each in neutral):
        return value
    raise refuse(f"is not supported: {why}")
