"""Text that is spelled as a control token is text, and no text can have the token itself."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers

from common.structured.grammar import grammar_of
from common.structured.guidance import Guide
from common.structured.output_format import OutputFormat
from common.structured.tool_grammar import item_grammar
from common.structured.tools import ToolSet
from common.tokenizer import JsonTokenizer
from tests.support.grammar_walk import Walker, token_walker
from tests.support.tokenizers import END, byte_fallback, for_json

MARK = "<|im_end|>"  # a control token that does not end a text


def with_mark() -> JsonTokenizer:
    backend = Tokenizer.from_str(for_json().dumps().decode())
    backend.add_special_tokens([MARK])
    return JsonTokenizer(backend.to_str().encode(), for_json().eos_ids)


def unigram() -> JsonTokenizer:
    """Its control tokens are entries of a vocabulary that is a list."""
    letters = [("▁", -5.0), *((chr(code), -5.0) for code in range(33, 127))]
    special = [("<unk>", 0.0), (END, 0.0), (MARK, 0.0)]
    backend = Tokenizer(models.Unigram([*special, *letters], unk_id=0))
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    backend.add_special_tokens([END, MARK])
    return JsonTokenizer(backend.to_str().encode(), frozenset({1}))


WALKERS = [
    token_walker(with_mark(), 400),
    token_walker(byte_fallback(), 400),
    token_walker(unigram(), 100),
]


def texts(walker: Walker, output: dict[str, Any]) -> set[str | None]:
    made = grammar_of(OutputFormat.model_validate(output))
    assert made
    begun, rng = walker.guide.matcher(made), random.Random(1)
    return {walker.text(begun, rng) for _ in range(20)}


@pytest.mark.parametrize("walker", WALKERS, ids=["bytes", "fallback", "unigram"])
@pytest.mark.parametrize("text", [f"a{END}b", END, f"a{MARK}b", MARK, f"{MARK}{END}", "<unk>"])
def test_text_spelled_as_a_control_token_is_written_in_tokens_of_text(
    walker: Walker, text: str
) -> None:
    escaped = text.replace("|", "\\|")
    value = json.dumps(text)
    assert texts(walker, {"choice": [text]}) == {text}
    assert texts(walker, {"regex": escaped}) == {text}
    assert texts(walker, {"grammar": f"start: {value}"}) == {text}
    assert texts(walker, {"json_schema": {"const": text}}) == {value}
    assert texts(walker, {"json_schema": {"enum": [text]}}) == {value}
    named = {"properties": {text: {"const": 1}}, "required": [text], "additionalProperties": False}
    found = texts(walker, {"json_schema": {"type": "object", **named}})
    assert {json.dumps(json.loads(each or "")) for each in found} == {f"{{{value}: 1}}"}


def test_arguments_of_calls_may_be_spelled_so_too() -> None:
    given = {"properties": {MARK: {"const": END}}, "required": [MARK]}
    functions = [{"name": "f", "parameters": {"type": "object", **given}}]
    tools = ToolSet.model_validate({"functions": functions, "choice": "required"})
    made = item_grammar(None, tools, "hermes")
    assert made
    walker, rng = WALKERS[0], random.Random(1)
    begun = walker.guide.matcher(made)
    found = {walker.text(begun, rng) for _ in range(5)}
    for text in found:
        call = json.loads((text or "").partition("<tool_call>")[2].partition("</tool_call>")[0])
        assert call["arguments"] == {MARK: END}


@pytest.mark.parametrize("output", [{"json_schema": {"type": "string"}}, {"regex": ".*"}])
def test_free_text_never_has_a_control_token(output: dict[str, Any]) -> None:
    tokenizer = with_mark()
    mark, end = tokenizer.special_id(MARK), tokenizer.special_id(END)
    assert mark is not None and end is not None
    made = grammar_of(OutputFormat.model_validate(output))
    assert made
    walker = token_walker(tokenizer, 400)
    for begin in ("", '"', '"a', '"<|im_end|'):
        if begin and "regex" in output:
            begin = begin[1:]
        matcher = walker.guide.matcher(made)
        assert all(map(matcher.accept, tokenizer.encode(begin, special=False)))
        assert mark not in walker.allowed(matcher)
        assert not matcher.copy().accept(mark)


def test_control_tokens_keep_their_ids() -> None:
    tokenizer = with_mark()
    mark = tokenizer.special_id(MARK)
    made = grammar_of(OutputFormat.model_validate({"regex": "a?"}))
    assert made and mark is not None
    ends = Guide(tokenizer.dumps(), 400, [mark]).matcher(made)
    assert ends.accept(mark) and ends.is_stopped
