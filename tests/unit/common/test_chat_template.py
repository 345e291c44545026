"""Chat templates are rendered as transformers does, within limits of time and output."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from common import bounded_jinja
from common.chat_template import ChatTemplate
from common.errors import InvalidRequest

CHAT = [
    {"role": "system", "content": "Be brief & <exact>."},
    {"role": "user", "content": "Grüße 你好"},
    {"role": "assistant", "content": "<think>hm</think>hello"},
    {"role": "user", "content": "1 < 2?"},
]
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
BIG = "{% set big = 'x' * 100000 %}"
CHATML = """
{%- set ns = namespace(last=messages|length - 1, seen=[]) -%}
{% for message in messages[::-1] %}
    {%- if message.role == "user" and not message.content.startswith('<tool') %}
        {%- set ns.last = [ns.last, messages|length - loop.index]|min %}
    {%- endif %}
{% endfor %}
{% for message in messages if message.role != 'system' %}
    {%- if loop.first %}{{ bos_token ~ loop.length }}{% endif %}
    {%- set content = message.content.split('</think>')[-1].lstrip('\\n') %}
    {%- set ns.seen = ns.seen + [loop.index0 ~ message['role']] %}
    {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {% if not loop.last %}{{ '%s of %03d' % (loop.index, ns.last) }}{% endif %}
{% else %}
nobody
{% endfor %}
{{ ns.seen|join(', ')|upper }}
{% if add_generation_prompt %}<|im_start|>assistant
{% if enable_thinking is defined and enable_thinking is false %}<think>

</think>{% endif %}{% endif %}"""

TEMPLATES = {
    "chatml": CHATML,
    "generation": ("{% for m in messages %}\n{% generation %}\n  {{ m.content }}\n{% endgeneration "
    "%}\n{% endfor %}"),
    "generation has a scope": ("{% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}{% "
    "endgeneration %}{{ x }}"),
    "generation in a loop": ("{% for m in messages %}{% generation %}{{ loop.index }}{% "
    "endgeneration %}{% endfor %}"),
    "loop controls": "{% for m in messages %}{% if loop.index == 2 %}{% continue %}{% endif %}"
    "{% if loop.last %}{% break %}{% endif %}{{ m.content }}{% endfor %}",
    "tojson": "{{ messages|tojson }}{{ messages[0]|tojson(indent=2) }}{{ "
    "messages|tojson(ensure_ascii=True) }}"
    "{{ {'b': 1, 'a': [1.5, none, true]}|tojson(separators=(',', ':'), sort_keys=True) }}",
    "no tools": ("{{ tools is none }}{{ documents is none }}{{ tools is defined }}{% if tools "
    "%}x{% endif %}"),
    "special tokens": "{{ bos_token }}|{{ eos_token }}|{{ pad_token }}|{{ pad_token is defined }}",
    "dict and namespace": "{% set d = dict(a=1) %}{{ d['a'] }}{% set n = namespace(d, b=3, "
    "self=4) %}{{ n.b + n.a }}"
    "{{ dict.fromkeys('ab') }}",
    "macros": "{% macro say(m, end='') %}<{{ m.role }}>{{ caller() if caller }}{{ end }}{% "
    "endmacro %}"
    "{% for m in messages %}{% call say(m, end=eos_token) %}{{ m.content|trim }}{% endcall %}{% "
    "endfor %}",
    "recursive loop": "{% for x in [[1, [2, [3]]]] recursive %}{{ loop.depth }}"
    "{{ loop(x) if x is iterable else x }}{% endfor %}",
    "values": "{{ 'x' * 3 }}{{ 2 ** 10 }}{{ 7 // 2 }}{{ 7 / 2 }}{{ 3 * 4 }}{{ [1] * 2 }}{{ none "
    "}}{{ 'a' ~ 1 ~ none }}"
    "{{ nothing }}{{ nothing ~ 'x' }}{{ '{:>5}|{}'.format('a', 2) }}{{ 'a'.center(9) }}{{ "
    "'a'|center(9) }}",
    "blocks": "{% block a %}{{ messages[0].content }}{% endblock %}{% set x %}{{ messages|length "
    "}}{% endset %}{{ x }}"
    "{% filter upper %}grüße{% endfilter %}{% with y = 2 %}{{ y }}{% endwith %}",
}  # fmt: skip


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize(
    "kwargs", [{}, {"enable_thinking": False, "unknown": 1, "pad_token": "<p>"}], ids=str
)
def test_a_chat_is_rendered_as_transformers_renders_it(name: str, kwargs: dict[str, Any]) -> None:
    (expected,), _ = render_jinja_template(
        [CHAT], chat_template=TEMPLATES[name], add_generation_prompt=True, **{**TOKENS, **kwargs}
    )
    assert ChatTemplate(TEMPLATES[name], TOKENS).render(CHAT, kwargs) == expected


def test_the_caller_alone_says_what_the_messages_and_tools_are() -> None:
    template = ChatTemplate(
        "{{ messages|length }}{{ tools }}{{ add_generation_prompt }}{{ documents }}", {}
    )
    given = {
        "messages": [],
        "tools": [1],
        "add_generation_prompt": False,
        "documents": [2],
        "self": 3,
    }
    assert template.render(CHAT, given) == "4NoneTrue[2]"


def test_the_same_time_makes_the_same_prompt_wherever_it_is_rendered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    template = ChatTemplate("{{ strftime_now('%d %b %Y %H:%M%Z') }}", {})
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert template.render(CHAT, {}, 1_764_100_000) == "25 Nov 2025 19:46"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_what_a_template_refuses_is_told_in_its_own_words() -> None:
    with pytest.raises(InvalidRequest, match="System role not supported"):
        ChatTemplate("{{ raise_exception('System role not supported') }}", {}).render(CHAT)


BREAKING = {
    "type": "{{ 'x' + messages[0].get('name') }}",
    "division": "{{ 1 / 0 }}",
    "overflow": "{{ 2.0 ** 10000 }}",
    "range": "{{ range(10 ** 9)|list }}",
    "include": "{% include 'x' %}",
    "import": "{% import 'x' as x %}",
    "extends": "{% extends 'x' %}",
    "json": "{{ nothing|tojson }}",
    "arguments": "{{ messages|tojson(html=True) }}",
    "undefined": "{{ nothing.more }}",
    "filter": "{{ 1|nothing }}",
    "recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "surrogate": "{{ '\\ud800' }}",
    "surrogate in words": "{{ raise_exception('\\ud800') }}",
    "sandbox": "{{ messages.__class__.__mro__[1].__subclasses__() }}",
    "change": "{{ messages.append(1) }}",
    "private": "{% set x = namespace(_a=1) %}",
    "syntax": "{% if %}",
    "unknown tag": "{% nothing %}",
    "depth": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
}


@pytest.mark.parametrize("name", BREAKING)
def test_whatever_goes_wrong_in_a_template_is_an_invalid_request(name: str) -> None:
    with pytest.raises(InvalidRequest, match="the model's chat template") as caught:
        ChatTemplate(BREAKING[name], {}).render(CHAT)
    assert len(caught.value.message.encode()) < 1000


ENDLESS = {
    "nested loops": (
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    ),
    "loops that skip": (
        "{% for a in range(99999) %}{% for b in range(99999) if b < 0 %}{% endfor %}{% endfor %}"
    ),
    "loops over a text": (
        "{% for a in messages[0].content %}{% for b in messages[0].content %}{% "
        "endfor %}{% endfor %}"
    ),
    "macros": (
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}"
    ),
    "filters": "{{ ([range(99999)] * 999)|map('select', 'odd')|map('list')|map('length')|list }}",
    "searching": (
        "{% set s = 'a' * 9999999 %}{% for i in range(99999) %}{% if 'b' in s %}{% endif "
        "%}{% endfor %}"
    ),
}
HUGE = {
    "output": "{% for a in range(99999) %}" + "{{ messages[0].content }}" * 9 + "{% endfor %}",
    "literals": "{% for a in range(99999) %}" + "x" * 9999 + "{% endfor %}",
    "a block": BIG + "{% set y %}{% for i in range(99999) %}{{ big }}{% endfor %}{% endset %}",
    "times": "{{ 'x' * 10 ** 10 }}",
    "power": "{{ 10 ** (10 ** 10) }}",
    "squares": (
        "{% set n = namespace(x=3) %}{% for i in range(60) %}{% set n.x = n.x * n.x %}{% endfor %}"
    ),
    "doubling": (
        "{% set n = namespace(x='aa') %}{% for i in range(60) %}{% set n.x = n.x + n.x "
        "%}{% endfor %}"
    ),
    "joining": (
        "{% set n = namespace(x='aa') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x "
        "%}{% endfor %}"
    ),
    "lists": (
        "{% set n = namespace(x=[1]) %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% "
        "endfor %}"
    ),
    "padding": "{{ 'x'.ljust(10 ** 10) }}",
    "centring": "{{ 'x'|center(width=10 ** 10) }}",
    "formatting": "{{ '%10000000000d' % 1 }}",
    "format method": "{{ '{:>{}}'.format(1, 10 ** 10) }}",
    "join": BIG + "{{ range(99999)|join(big) }}",
    "join method": BIG + "{{ big.join(big|list) }}",
    "lazy join": BIG + "{{ range(99999)|map('string')|join(big) }}",
    "replace": BIG + "{{ big.replace('x', big) }}",
    "slices": "{{ [1]|slice(10 ** 9)|list }}",
}


@pytest.mark.parametrize("name", ENDLESS | HUGE)
def test_a_template_that_loops_for_long_or_grows_is_stopped(name: str) -> None:
    template = ChatTemplate((ENDLESS | HUGE)[name], {})
    began = time.thread_time()
    with pytest.raises(InvalidRequest, match=r"it (did not end|makes more|computes with|formats)"):
        template.render([{"role": "user", "content": "long message " * 10_000}])
    assert time.thread_time() - began < bounded_jinja.MOST_SECONDS + 2


def test_a_long_chat_is_rendered_within_the_bounds() -> None:
    chat = [{"role": "user", "content": "a message of some words " * 20}] * 2000
    assert ChatTemplate(CHATML, TOKENS).render(chat).count("<|im_start|>user") == 2000


def test_threads_that_render_together_have_a_bound_each() -> None:
    template = ChatTemplate(
        "{% for a in range(n) %}{% for b in range(n) %}{% endfor %}{% endfor %}ok", {}
    )
    found: dict[int, str] = {}

    def render(n: int) -> None:
        try:
            found[n] = template.render(CHAT, {"n": n})
        except InvalidRequest as error:
            found[n] = error.message

    threads = [threading.Thread(target=render, args=(n,)) for n in (3, 99_999, 50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (found[3], found[50]) == ("ok", "ok") and "did not end" in found[99_999]


@pytest.mark.parametrize(
    "source", [BREAKING["syntax"], BREAKING["depth"], ENDLESS["macros"], HUGE["times"]]
)
def test_a_template_that_can_serve_no_chat_is_found_before_the_first(source: str) -> None:
    with pytest.raises(InvalidRequest):
        ChatTemplate(source, {}).check()


def test_a_template_that_wants_more_than_a_greeting_is_no_broken_one() -> None:
    ChatTemplate("{{ raise_exception('begin with a system message') }}", {}).check()
