"""The laws of templates: substitution, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidRequest
from common.prompting.template import MOST_PLACES, MOST_RENDERED, Template

TEXTS = st.text(st.sampled_from("{} \nab"), max_size=40)


def rendered(source: str, **values: Any) -> Any:
    template = Template.parse({"prompt": source})
    return template.render(template.texts_of(values))


@pytest.mark.parametrize(
    ("source", "prompt"),
    [
        ("{{text}}", "T"),
        ("a {{ text }} b {{\ttext\n}}", "a T b T"),
        ("{{{{text}}", "{{text}}"),
        ("{{{{{{text}}", "{{T"),
        ("{{{{{{{{", "{{{{"),
        ("}} {{text}}}} }", "}} T}} }"),
        ("{ text } {", "{ text } {"),
        ("", ""),
        ('{"key": "{{text}}"}', '{"key": "T"}'),
    ],
)
def test_a_variable_is_replaced_and_doubled_braces_stand_for_themselves(
    source: str, prompt: str
) -> None:
    assert rendered(source, text="T") == prompt


@given(TEXTS)
def test_a_variables_text_is_never_expanded_again(text: str) -> None:
    if text:
        assert rendered("<{{a}}|{{b}}|{{a}}>", a=text, b="{{a}}") == f"<{text}|{{{{a}}}}|{text}>"


@given(TEXTS)
def test_a_literal_text_can_always_be_written(text: str) -> None:
    assert rendered(text.replace("{{", "{{{{")) == text


@pytest.mark.parametrize(
    ("source", "place"),
    [("{{", "line 1, character 1"), ("a\nb {{text", "line 2, character 3"), ("{{{{ {{x", "1, cha")],
)
def test_an_unclosed_variable_is_refused_with_its_place(source: str, place: str) -> None:
    with pytest.raises(InvalidRequest, match=place) as refused:
        Template.parse({"prompt": source})
    assert refused.value.code == "invalid_template" and refused.value.field == "template.prompt"


def test_an_unclosed_variable_of_a_chat_names_its_message() -> None:
    with pytest.raises(InvalidRequest) as refused:
        Template.parse(
            {"messages": [{"role": "system", "content": ""}, {"role": "user", "content": "{{"}]}
        )
    assert refused.value.field == "template.messages.1.content"


def test_only_the_content_of_messages_is_templated() -> None:
    template = Template.parse({"messages": [{"role": "{{a}}", "content": "{{a}}"}]})
    assert template.render({"a": "x"}) == [{"role": "{{a}}", "content": "x"}]
    assert template.variables == ("a",)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("007", "007"), (" ", " "), (7, "7"), (1.0, "1.0"), (True, "true"), ([1, "é"], '[1, "é"]'),
        ({"a": None}, '{"a": null}'), (0, "0"), (False, "false"), ([], "[]"),
    ],
)  # fmt: skip
def test_what_is_no_text_becomes_json(value: Any, text: str) -> None:
    assert rendered("{{a}}", a=value) == text


@pytest.mark.parametrize("values", [{}, {"a": None}, {"a": ""}])
def test_a_variable_without_a_value_is_named_only_if_it_is_used(values: dict[str, Any]) -> None:
    assert rendered("{{b}}", b="x", **values) == "x"
    with pytest.raises(InvalidRequest, match=r"\{\{a\}\}") as refused:
        rendered("{{a}}{{b}}", b="x", **values)
    assert (refused.value.code, refused.value.field) == ("missing_variable", "vars.a")


def test_the_column_without_a_name_is_a_variable() -> None:
    template = Template.parse({"prompt": "{{}}{{ }}"})
    template.refuse_unknown(["", "text"])
    assert template.render({"": "7"}) == "77"


def test_an_unknown_column_is_named_with_those_there_are() -> None:
    with pytest.raises(
        InvalidRequest, match=r"\{\{txt\}\}.*text, id; did you mean text\?"
    ) as refused:
        Template.parse({"prompt": "{{txt}} {{id}}"}).refuse_unknown(["text", "id"])
    assert refused.value.code == "unknown_column"


def test_a_short_template_makes_no_endless_prompt() -> None:
    template = Template.parse({"prompt": "{{a}}" * 1000})
    with pytest.raises(InvalidRequest, match="characters") as refused:
        template.render({"a": "x" * (MOST_RENDERED // 1000 + 1)})
    assert refused.value.code == "too_many_tokens"
    assert len(template.render({"a": "x" * 1000})) == 1_000_000


def test_a_template_has_variables_at_so_many_places_and_no_more() -> None:
    assert len(rendered("{{a}}" * MOST_PLACES, a="x")) == MOST_PLACES
    with pytest.raises(InvalidRequest, match="at 1,001 places; it may have 1,000") as refused:
        Template.parse({"prompt": "{{a}}" * (MOST_PLACES + 1)})
    assert refused.value.code == "invalid_template"
    chat = {"role": "user", "content": "{{a}}" * 600}
    with pytest.raises(InvalidRequest, match="1,200 places"):
        Template.parse({"messages": [chat, chat]})


def test_a_literal_piece_is_one_part_however_it_is_written() -> None:
    assert len(Template.parse({"prompt": "{{{{" * 20_000}).texts[0].parts) == 1


def test_a_column_that_only_looks_like_the_variable_is_told_of() -> None:
    template = Template.parse({"prompt": "{{caf\u00e9}}"})
    with pytest.raises(InvalidRequest, match="looks the same, and its accents are encoded") as told:
        template.refuse_unknown(["id", "cafe\u0301"])
    assert "did you mean" not in told.value.message
