"""Templates as a job has them: a text to continue, or the messages of a chat.

The server renders them. Here they are only checked against the table's columns, before anything is
sent.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from promptmill.errors import TableError
from promptmill.shapes import Message

MOST_NAME = 80  # characters of the name that a job has in lists
PROMPTS = {"prompt", "messages", "prompt_ids"}  # columns that are asked as they are
PROMPT_OPTIONS = {"preset", "columns"}  # fields of a job that may say what is asked
VARIABLE = re.compile(r"\{\{\{\{|\{\{(.*?)\}\}", re.DOTALL)  # `{{{{` stands for `{{` itself


def as_template(
    template: str | Sequence[Message], system: str | None, chat: bool
) -> dict[str, Any]:
    """A job's `template`; `chat` asks a text as a chat's question."""
    if not isinstance(template, str):
        if system:
            raise ValueError("template has messages; put the system message among them")
        return {"messages": [dict(message) for message in template]}
    if not (system or chat):
        return {"prompt": template}
    first = [{"role": "system", "content": system}] if system else []
    return {"messages": [*first, {"role": "user", "content": template}]}


def check_given(
    template: str | Sequence[Message] | None, columns: Sequence[str], options: Mapping[str, Any]
) -> None:
    """Refuse a call that says nothing of what is asked, and a template with a variable that is no
    column.

    Raises:
        TableError: says what to give.
    """
    if template:
        check_variables(template, columns)
    elif template is not None or not (PROMPTS & set(columns) or PROMPT_OPTIONS & set(options)):
        text = f"{{{{{columns[0]}}}}}" if columns else "{{text}}"
        raise TableError(
            f'give a template, such as "Summarise in one sentence: {text}"; it may be left out '
            "where the table has a column prompt or messages"
        )


def check_variables(template: str | Sequence[Message], columns: Sequence[str]) -> None:
    """Refuse a template with a variable that is no column.

    Raises:
        TableError: names it, and the column that it may mean.
    """
    for name in _variables(template):
        if name not in columns:
            near = difflib.get_close_matches(name, columns, n=1)
            hint = f"did you mean {{{{{near[0]}}}}}?" if near else f"it has {_listed(columns)}"
            raise TableError(
                f"the template uses {{{{{name}}}}}, and the table has no such column; {hint}"
            )


def job_name(template: Mapping[str, Any]) -> str:
    """The job's name in lists: the beginning of what is asked."""
    text = template.get("prompt") or template["messages"][-1]["content"]
    words = " ".join(text.split())
    return words if len(words) <= MOST_NAME else words[: MOST_NAME - 1] + "…"


def _variables(template: str | Sequence[Message]) -> Iterator[str]:
    contents = [template] if isinstance(template, str) else [m["content"] for m in template]
    for content in contents:
        for found in VARIABLE.finditer(content):
            if found[1] is not None:
                yield found[1].strip()


def _listed(columns: Sequence[str]) -> str:
    shown = ", ".join(columns[:20])
    return shown + (", …" if len(columns) > 20 else "")
