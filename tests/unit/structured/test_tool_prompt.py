"""Models are told of functions, calls and results as their chat template wants it, or in our
words. The templates here are written as those of the families are."""

from __future__ import annotations

import json
from typing import Any

import pytest

from common.chat_template import ChatTemplate
from common.errors import InvalidRequest
from common.structured.tool_calls import CallReader

QWEN = """\
{%- if tools %}<|im_start|>system
# Tools
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}<|im_end|>
{% endif %}
{%- for message in messages %}
{%- if message.role == "tool" %}<|im_start|>user
<tool_response>
{{ message.content }}
</tool_response><|im_end|>
{% elif message.tool_calls %}<|im_start|>assistant
{%- if message.content %}
{{ message.content }}{% endif %}
{%- for call in message.tool_calls %}{% set call = call.function %}
<tool_call>
{"name": "{{ call.name }}", "arguments": {{ call.arguments | tojson }}}
</tool_call>
{%- endfor %}<|im_end|>
{% else %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endif %}{% endfor %}<|im_start|>assistant
"""
LLAMA = """\
{%- if tools is not none %}{% for t in tools %}{{ t | tojson(indent=4) }}{% endfor %}{% endif %}
{%- for message in messages %}
{%- if 'tool_calls' in message %}
{%- if message.tool_calls | length != 1 %}{{ raise_exception("one call at once") }}{% endif %}
{%- set call = message.tool_calls[0].function %}<|assistant|>
{{- '{"name": "' + call.name + '", "parameters": ' }}{{ call.arguments | tojson }}{{ "}" }}
{%- elif message.role == "tool" or message.role == "ipython" %}<|ipython|>
{%- if message.content is mapping %}{{ message.content | tojson }}
{%- else %}{{ message.content }}{% endif %}
{%- else %}<|{{ message.role }}|>{{ message.content }}{% endif %}
{%- endfor %}<|assistant|>"""
MISTRAL = """\
{%- if tools %}[AVAILABLE_TOOLS] {{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}
{%- for message in messages %}
{%- if message.tool_calls is defined and message.tool_calls is not none %}[TOOL_CALLS] [
{%- for call in message.tool_calls %}
{%- if call.id | length != 9 %}{{ raise_exception("ids have nine characters") }}{% endif %}
{{- call.function | tojson | replace("}}", '}, "id": "' ~ call.id ~ '"}') }}
{%- if not loop.last %}, {% endif %}{% endfor %}]</s>
{%- elif message.role == "tool" %}[TOOL_RESULTS] {"content": {{ message.content }}, "call_id": \
"{{ message.tool_call_id }}"}[/TOOL_RESULTS]
{%- else %}[INST]{{ message.content }}[/INST]{% endif %}
{%- endfor %}"""
TEXTS = QWEN.replace("call.arguments | tojson", "call.arguments")
NONE_CONTENT = QWEN.replace("elif message.tool_calls", "elif message.content is none")
ARGUMENTS_FIRST = QWEN.replace(
    '{"name": "{{ call.name }}", "arguments": {{ call.arguments | tojson }}}',
    '{ "arguments": {{ call.arguments | tojson }}, "name": "{{ call.name }}"}',
)
PLAIN = """\
{% for m in messages %}<|{{ m.role }}|>{{ m.content + "" }}
{% endfor %}<|assistant|>"""
STRICT_ROLES = """\
{% for m in messages %}{% if m.role not in ("user", "assistant") %}\
{{ raise_exception("no such role") }}{% endif %}<|{{ m.role }}|>{{ m.content }}
{% endfor %}"""
OTHER_FORMAT = QWEN.replace('{"name": "', "<function=").replace('", "arguments": ', ">")

FUNCTIONS: list[dict[str, Any]] = [
    {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
    {"name": "now", "description": "The {time} now."},
]
CALL = {
    "id": "call_0123456789abcdefghijklmn",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Köln"}'},
}
CHAT: list[dict[str, Any]] = [
    {"role": "user", "content": "How is it?"},
    {"role": "assistant", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": CALL["id"], "content": "17"},
    {"role": "assistant", "content": "17 degrees."},
]
ARGUMENTS = '{"city": "Köln"}'


def render(source: str, messages: Any = CHAT, functions: Any = FUNCTIONS) -> str:
    return ChatTemplate(source, {}).render(messages, tools=functions)


@pytest.mark.parametrize(
    ("source", "format_", "call"),
    [
        (QWEN, "hermes", f'<tool_call>\n{{"name": "weather", "arguments": {ARGUMENTS}}}'),
        (LLAMA, "llama3", f'{{"name": "weather", "parameters": {ARGUMENTS}}}'),
        (MISTRAL, "mistral", f'[TOOL_CALLS] [{{"name": "weather", "arguments": {ARGUMENTS}'),
        (TEXTS, "hermes", f'<tool_call>\n{{"name": "weather", "arguments": {ARGUMENTS}}}'),
        (NONE_CONTENT, "hermes", f'<tool_call>\n{{"name": "weather", "arguments": {ARGUMENTS}}}'),
    ],
)
def test_a_template_with_a_place_for_tools_is_given_them_as_it_wants_them(
    source: str, format_: str, call: str
) -> None:
    assert ChatTemplate(source, {}).tool_traits.format == format_
    prompt = render(source)
    assert call in prompt
    assert '"city"' in prompt and '"type": "string"' in prompt and "The {time} now." in prompt
    assert "17" in prompt and "You may call" not in prompt
    assert "None" not in prompt


def test_a_template_may_write_arguments_before_names() -> None:
    assert ChatTemplate(ARGUMENTS_FIRST, {}).tool_traits.format == "hermes"
    assert f'{{ "arguments": {ARGUMENTS}, "name": "weather"}}' in render(ARGUMENTS_FIRST)


def test_calls_have_the_ids_that_the_template_takes() -> None:
    prompt = render(MISTRAL)
    _, _, rest = prompt.partition('"id": "')
    short = rest[:9]
    assert short.isalnum() and f'"call_id": "{short}"' in prompt
    assert render(MISTRAL) == prompt, "the same id each time"


@pytest.mark.parametrize("source", [PLAIN, STRICT_ROLES, OTHER_FORMAT])
def test_a_template_without_a_place_is_given_our_text(source: str) -> None:
    traits = ChatTemplate(source, {}).tool_traits
    assert traits.format == "generic"
    prompt = render(source)
    assert prompt.index("You may call functions.") < prompt.index("How is it?")
    for function in FUNCTIONS:
        assert f'"name": "{function["name"]}"' in prompt
    call = prompt[prompt.index('<tool_call>\n{"name": "weather"') :]
    reader = CallReader({"weather"})
    reader.feed(call)
    assert reader.count == 1
    assert "<tool_response>\n17\n</tool_response>" in prompt


def test_our_text_goes_into_the_system_message_or_else_the_user_s() -> None:
    system = [{"role": "system", "content": "Be brief."}, *CHAT]
    assert render(PLAIN, system).startswith("<|system|>Be brief.\n\nYou may call")
    assert render(PLAIN).startswith("<|system|>You may call")
    assert render(STRICT_ROLES).startswith("<|user|>You may call")
    with pytest.raises(InvalidRequest, match="no such role"):
        render(STRICT_ROLES, system)


def test_results_in_a_row_are_one_message() -> None:
    chat = [*CHAT[:3], {**CHAT[2], "content": "and rain"}]
    end = "<|user|><tool_response>\n17\n</tool_response>\n<tool_response>\nand rain\n"
    assert end in render(PLAIN, chat)


def test_earlier_calls_are_rendered_without_functions_too() -> None:
    for source in (QWEN, LLAMA, MISTRAL, PLAIN, STRICT_ROLES):
        prompt = render(source, functions=())
        assert "weather" in prompt and "You may call" not in prompt and "17" in prompt


def test_without_tools_a_chat_is_rendered_as_before() -> None:
    chat = [CHAT[0]]
    assert render(PLAIN, chat, ()) == "<|user|>How is it?\n<|assistant|>"


def test_arguments_that_are_no_object_stay_as_they_were_written() -> None:
    broken = json.loads(json.dumps(CHAT))
    for text in ('{"city": "Kö', "[1]", "", "{" * 100_000):
        broken[1]["tool_calls"][0]["function"]["arguments"] = text
        assert json.dumps(text, ensure_ascii=False) in render(QWEN, broken)
        assert f'"arguments": {text}}}' in render(PLAIN, broken)


def test_a_template_that_does_not_end_is_refused_with_tools_too() -> None:
    endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    with pytest.raises(InvalidRequest, match="did not end"):
        render(endless)
