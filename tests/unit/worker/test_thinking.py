"""Which models think before they answer, and where a prompt leaves them."""

from __future__ import annotations

import pytest

from common.errors import InvalidRequest
from common.generation import ThinkingSpan
from common.params import SamplingParams
from common.tokenizer import WordTokenizer
from tests.support.tokenizers import THINK, THOUGHT, byte_fallback, for_json
from worker.thinking import marks, span

TEMPLATE = "{{ messages }}<think>\n"
FOUND = (361, 362)


def asked(most: int | None = None) -> SamplingParams:
    return SamplingParams.model_validate({} if most is None else {"thinking": {"max_tokens": most}})


def test_a_model_thinks_if_both_marks_are_tokens_and_its_template_knows_them() -> None:
    begin, end = for_json().added_id(THINK), for_json().added_id(THOUGHT)
    assert begin is not None and marks(for_json(), TEMPLATE) == (begin, end)
    assert marks(for_json(), "{{ messages[-1].split('</think>') }}") == (begin, end)
    for template in (None, "{{ messages }}"):
        assert marks(for_json(), template) is None, "its tokenizer has marks that it never uses"
    assert marks(byte_fallback(), TEMPLATE) is None, "its marks are several tokens each"
    assert marks(WordTokenizer(), TEMPLATE) is None


@pytest.mark.parametrize(
    ("prompt", "open"),
    [
        ("<user>hi<assistant>", False),
        ("<user>hi<assistant><think>\n", True),
        ("<user>what is <think>?<assistant>", False),
        ("<user></think><assistant>", False),
    ],
)
def test_the_end_of_the_prompt_says_whether_a_chat_is_thinking_already(
    prompt: str, open: bool
) -> None:
    assert span(FOUND, prompt, asked(), is_chat=True) == ThinkingSpan(*FOUND, open, None)
    assert span(FOUND, prompt, asked(7), is_chat=True) == ThinkingSpan(*FOUND, open, 7)


def test_a_chat_whose_template_closed_the_thoughts_has_none() -> None:
    assert span(FOUND, "<assistant><think>\n\n</think>\n\n", asked(7), is_chat=True) is None


def test_other_prompts_are_split_only_where_thinking_was_asked_for() -> None:
    assert span(FOUND, "Once upon", asked(), is_chat=False) is None
    assert span(FOUND, "Once upon", asked(3), is_chat=False) == ThinkingSpan(*FOUND, False, 3)


def test_a_limit_of_thoughts_is_refused_for_a_model_without_thoughts() -> None:
    assert span(None, "hi", asked(), is_chat=True) is None
    with pytest.raises(InvalidRequest) as refused:
        span(None, "hi", asked(3), is_chat=True)
    assert (refused.value.code, refused.value.field) == ("unsupported", "params.thinking")
