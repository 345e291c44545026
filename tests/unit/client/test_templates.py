"""Templates: which shape they have in a job, and that a wrong variable is told at once."""

from __future__ import annotations

from typing import Any

import pytest

from promptmill.errors import TableError
from promptmill.templates import as_template, check_given, check_variables, job_name

QUESTION = {"role": "user", "content": "Say {{text}}"}


@pytest.mark.parametrize(
    ("template", "system", "chat", "expected"),
    [
        ("Say {{text}}", None, False, {"prompt": "Say {{text}}"}),
        ("Say {{text}}", None, True, {"messages": [QUESTION]}),
        (
            "Say {{text}}",
            "Be brief.",
            False,
            {"messages": [{"role": "system", "content": "Be brief."}, QUESTION]},
        ),
        ([QUESTION], None, False, {"messages": [QUESTION]}),
    ],
)
def test_a_template_is_a_text_or_a_chat(
    template: Any, system: str | None, chat: bool, expected: dict[str, Any]
) -> None:
    assert as_template(template, system, chat) == expected


def test_messages_bring_their_own_system_message() -> None:
    with pytest.raises(ValueError, match="among them"):
        as_template([{"role": "user", "content": "x"}], "Be brief.", True)


@pytest.mark.parametrize(
    "good", ["{{ text }}", "{{{{txt}}", "}} {{text}}{{a b}}", "{text}", "{{}}"]
)
def test_a_variable_that_is_a_column_passes(good: str) -> None:
    check_variables(good, ["text", "a b", ""])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("{{txt}}", r"uses \{\{txt\}\}, .*; did you mean \{\{text\}\}\?"),
        ("{{text}} {{\nother }}", r"uses \{\{other\}\}, .*; it has text, id"),
    ],
)
def test_a_variable_that_is_no_column_is_named(wrong: str, says: str) -> None:
    with pytest.raises(TableError, match=says):
        check_variables([{"role": "user", "content": wrong}], ["text", "id"])


@pytest.mark.parametrize(
    ("template", "columns"), [(None, ["text"]), ("", ["prompt"]), ([], ["text"]), (None, [])]
)
def test_a_call_that_asks_nothing_is_refused(template: Any, columns: list[str]) -> None:
    with pytest.raises(TableError, match="give a template, such as"):
        check_given(template, columns, {})


@pytest.mark.parametrize(
    ("columns", "options"),
    [(["id", "prompt"], {}), (["messages"], {}), (["text"], {"preset": "summarise"})],
)
def test_a_template_may_be_left_out_where_something_else_is_asked(
    columns: list[str], options: dict[str, Any]
) -> None:
    check_given(None, columns, options)


def test_a_job_is_named_by_what_it_asks() -> None:
    assert job_name({"prompt": "Say\n  {{text}}"}) == "Say {{text}}"
    assert job_name({"messages": [{"role": "system", "content": "a"}, QUESTION]}) == "Say {{text}}"
    assert len(job_name({"prompt": "word " * 100})) == 80
