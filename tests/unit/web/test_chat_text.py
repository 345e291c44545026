"""A chat as one text, for people who rate and for models that judge."""

from __future__ import annotations

from typing import Any

from web.schemas.messages import chat_text

USER = {"role": "user", "content": "What time is it?"}


def test_one_message_is_its_text_and_several_have_their_speakers() -> None:
    assert chat_text([USER]) == "What time is it?"
    call = {"id": "c", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": ""},
        USER,
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "noon"},
    ]
    assert chat_text(messages) == "user: What time is it?\n\nassistant: clock {}\n\ntool: noon"
    assert chat_text([]) == ""
