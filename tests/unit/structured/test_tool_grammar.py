"""Calls that must be made, and strict ones that may be, are held to the functions' parameters."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from common.errors import InvalidRequest
from common.structured.guidance import Guide, byte_guide
from common.structured.output_format import OutputFormat
from common.structured.tool_calls import Called, CallReader
from common.structured.tool_grammar import TAGS, item_grammar
from common.structured.tool_prompt import ToolFormat
from common.structured.tools import ToolSet
from common.tokenizer import JsonTokenizer

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
FUNCTIONS: list[dict[str, Any]] = [{"name": "weather", "parameters": CITY}, {"name": "now"}]
STRICT = [{**FUNCTIONS[0], "strict": True}, FUNCTIONS[1]]
WEATHER: dict[ToolFormat, str] = {
    "hermes": '<tool_call>\n{"name": "weather", "arguments": {"city":"Köln"}}\n</tool_call>',
    "generic": '<tool_call>\n{"name": "weather", "arguments": {"city":"Köln"}}\n</tool_call>',
    "llama3": '{"name": "weather", "parameters": {"city":"Köln"}}',
    "mistral": '[{"name": "weather", "arguments": {"city":"Köln"}}]',
}
NOW = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'


def tools(functions: Any = FUNCTIONS, **more: Any) -> ToolSet:
    return ToolSet.model_validate({"functions": functions, **more})


def far(
    text: str, given: ToolSet, form: ToolFormat = "hermes", output: OutputFormat | None = None
) -> str:
    """`ends` for a whole text of the grammar, `open` for the beginning of one, else `never`."""
    grammar = item_grammar(output, given, form)
    assert grammar is not None
    matcher = byte_guide().matcher(grammar)
    for byte in text.encode():
        if not matcher.accept(byte):
            return "never"
    return "ends" if matcher.can_end else "open"


@pytest.mark.parametrize("form", ["hermes", "generic", "llama3", "mistral"])
def test_a_call_that_must_be_made_is_made_in_the_family_s_format(form: ToolFormat) -> None:
    call = WEATHER[form]
    for choice in ("required", {"name": "weather"}):
        given = tools(choice=choice)
        assert far(call, given, form) == far(f"\n\n{call}", given, form) == "ends"
        assert far("Well", given, form) == "never"
        assert far(call.replace("city", "town"), given, form) == "never"
        assert far(call.replace("weather", "other"), given, form) == "never"
    reader = CallReader(given.names, forced=True)
    assert Called(0, "weather") in [*reader.feed(call), *reader.finish()]


def test_only_the_function_that_is_named_is_called_and_once() -> None:
    call = WEATHER["hermes"]
    assert far(NOW, tools(choice={"name": "weather"})) == "never"
    assert far(f"{call}\n{NOW}", tools(choice={"name": "weather"})) == "never"
    assert far(f"{call}\n{NOW}", tools(choice="required", parallel=False)) == "never"
    assert far(f"{call}\n{NOW}", tools(choice="required")) == "ends"
    assert far(f"{call}\n{NOW}\n{call}", tools(choice="required")) == "ends"


def test_a_function_without_parameters_takes_none() -> None:
    given = tools(choice={"name": "now"})
    assert far(NOW, given) == "ends"
    assert far(NOW.replace("{}", '{"a":1}'), given) == "never"


def test_calls_that_may_be_made_are_free_unless_a_function_is_strict() -> None:
    assert item_grammar(None, tools(), "hermes") is None


@pytest.mark.parametrize("form", ["hermes", "generic", "llama3", "mistral"])
def test_a_strict_function_that_may_be_called_is_called_by_its_parameters(
    form: ToolFormat,
) -> None:
    call, given = WEATHER[form], tools(STRICT)
    assert far("", given, form) == far("Hello, you.\n", given, form) == "ends"
    assert far(call, given, form) == "ends"
    assert far(call.replace("city", "town"), given, form) == "never"
    assert far(call.replace("weather", "other"), given, form) == "never"


def test_text_stands_around_strict_calls_in_hermes_format() -> None:
    call, given = WEATHER["hermes"], tools(STRICT)
    assert far(f"Let me see <tool\n{call} and {NOW} done", given) == "ends"
    assert far(f"{call} and <tool_call>x", given) == "never"
    assert far(f"{call} and {NOW}", tools(STRICT, parallel=False)) == "never"


def test_an_answer_may_be_a_call_or_of_a_format() -> None:
    output = OutputFormat.model_validate({"json_schema": {"type": "integer"}})
    for form, call in WEATHER.items():
        assert far("17", tools(), form, output) == far(call, tools(), form, output) == "ends"
        assert far("x", tools(), form, output) == "never"
    with pytest.raises(InvalidRequest, match="regex"):
        item_grammar(OutputFormat.model_validate({"regex": "a"}), tools(), "hermes")


def test_a_call_that_cannot_fit_is_known_before() -> None:
    long = {"type": "object", "properties": {"a": {"type": "string", "minLength": 500}}}
    given = tools([{"name": "f", "parameters": {**long, "required": ["a"]}}], choice="required")
    grammar = item_grammar(None, given, "hermes")
    assert grammar is not None and grammar.least > 500


ENDLESS = {"properties": {"a": {"$ref": "#"}}, "required": ["a"]}


@pytest.mark.parametrize(
    "bad", [ENDLESS, {"properties": {"a": {"not": {}}}}, {"x-guidance": {}}], ids=str
)
def test_parameters_that_cannot_be_held_to_are_named(bad: Any) -> None:
    given = tools([FUNCTIONS[1], {"name": "f", "parameters": bad}], choice="required")
    with pytest.raises(InvalidRequest) as refused:
        item_grammar(None, given, "hermes")
    assert str(refused.value.field).startswith("tools.functions.1.parameters")


def test_names_and_schemas_cannot_leave_their_place_in_the_grammar() -> None:
    hostile = {
        "type": "object",
        "properties": {'"\nstart: /x/\n%json {': {"const": '"} \\ <tool_call>'}},
        "required": ['"\nstart: /x/\n%json {'],
        "additionalProperties": False,
    }
    given = tools([{"name": "f", "parameters": hostile}], choice="required")
    assert far("x", given) == "never"
    reader = CallReader({"f"}, forced=True)
    text = (
        '<tool_call>\n{"name": "f", "arguments": {"\\"\\nstart: /x/\\n%json {":'
        '"\\"} \\\\ <tool_call>"}}\n</tool_call>'
    )
    assert far(text, given) == "ends"
    assert [*reader.feed(text), *reader.finish()]
    assert reader.count == 1


@cache
def with_tags(special: bool) -> JsonTokenizer:
    """A tokenizer of bytes in which the tags of calls are tokens of their own."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({letter: place for place, letter in enumerate(letters)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken("<|end|>", special=True)])
    tags = [AddedToken(tag, special=special) for tag in TAGS]
    if special:
        backend.add_special_tokens(tags)
    else:
        backend.add_tokens(tags)
    return JsonTokenizer(backend.to_str().encode(), frozenset({256}))


@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("given", [tools(choice="required"), tools(STRICT)], ids=["must", "may"])
def test_tags_that_are_tokens_of_their_own_are_taken_and_are_text(
    special: bool, given: ToolSet
) -> None:
    tokenizer = with_tags(special)
    ids = [(tag, tokenizer.added_id(tag)) for tag in TAGS]
    tags = tuple((tag, token) for tag, token in ids if token is not None)
    assert [token for _, token in tags] == [257, 258, 259]
    calls = f"{WEATHER['hermes']}\n{NOW}"
    taken = tokenizer.encode(calls, special=False)
    assert {257, 258} <= {*taken}
    grammar = item_grammar(None, given, "hermes", tags)
    assert grammar is not None
    matcher = Guide(tokenizer.dumps(), 260, [256]).matcher(grammar)
    stream = tokenizer.stream()
    text = ""
    for token in taken:
        assert matcher.accept(token)
        text += stream.step(token)
    assert matcher.can_end and text == calls
    reader = CallReader(given.names)
    reader.feed(text)
    assert reader.count == 2


def test_mistral_s_token_may_stand_before_its_calls() -> None:
    tokenizer, given = with_tags(True), tools(choice="required")
    grammar = item_grammar(None, given, "mistral", (("[TOOL_CALLS]", 259),))
    assert grammar is not None
    guide = Guide(tokenizer.dumps(), 260, [256])
    for before in ([], [259]):
        matcher = guide.matcher(grammar)
        for token in [*before, *tokenizer.encode(WEATHER["mistral"], special=False)]:
            assert matcher.accept(token)
        assert matcher.can_end
