"""What a chat's answer is made of: thoughts, text and calls of tools, read out of what was
generated, whole or as it comes.
"""

from __future__ import annotations

import hashlib

from common.result_row import RowOutput
from common.structured.tool_calls import Arguments, Called, Part, Said, reader_of
from web.openai.answer_options import AnswerOptions
from web.openai.completion_schemas import AssistantMessage, Delta, FinishReason, ToolCallDelta


def call_id(answer_id: str, choice: int, index: int) -> str:
    """The id of a call: the same however often an answer is read, and no other call's."""
    digest = hashlib.sha256(f"{answer_id} {choice} {index}".encode()).hexdigest()
    return f"call_{digest[:24]}"


def finish_reason(reason: str, calls: int = 0) -> FinishReason:
    """Our finish reason as the client knows it: it has no `cancelled`, `expired` or `error`, so
    these are `length`. An answer that ended with `calls` ended for these."""
    if reason != "stop":
        return "length"
    return "tool_calls" if calls else "stop"


def answer_message(
    options: AnswerOptions, output: RowOutput, answer_id: str, choice: int
) -> tuple[AssistantMessage, FinishReason]:
    """A whole answer as a message, and why it ended."""
    text, calls = output["text"], 0
    message: AssistantMessage = {"role": "assistant", "content": text, "refusal": None}
    if options.tools:
        reader = reader_of(options.tools)
        is_cut = output["finish_reason"] != "stop"
        parts = [*reader.feed(text), *reader.finish(cut=is_cut)]
        calls = reader.count
        said = "".join(part.text for part in parts if isinstance(part, Said))
        message["content"] = said or (None if calls or reader.dropped else "")
        if calls:
            message["tool_calls"] = [
                {
                    "id": call_id(answer_id, choice, part.index),
                    "type": "function",
                    "function": {"name": part.name, "arguments": _arguments(parts, part.index)},
                }
                for part in parts
                if isinstance(part, Called)
            ]
    if options.reasoning and (thoughts := output.get("reasoning")) is not None:
        message["reasoning_content"] = thoughts
    return message, finish_reason(output["finish_reason"], calls)


def _arguments(parts: list[Part], index: int) -> str:
    return "".join(
        part.text for part in parts if isinstance(part, Arguments) and part.index == index
    )


class AnswerDeltas:
    """One answer of a stream: what its next text adds to the message."""

    def __init__(self, options: AnswerOptions, answer_id: str, choice: int):
        self._reader = reader_of(options.tools) if options.tools else None
        self._answer_id = answer_id
        self._choice = choice

    @property
    def calls(self) -> int:
        """How many calls there were."""
        return self._reader.count if self._reader else 0

    def opening(self) -> Delta:
        """The first delta, which has the role. A message that only calls has no content."""
        return {"role": "assistant", "content": None if self._reader else ""}

    def feed(self, text: str) -> list[Delta]:
        if self._reader is None:
            return [{"content": text}]
        return [self._delta(part) for part in self._reader.feed(text)]

    def finish(self, reason: str) -> list[Delta]:
        """What was held back. `reason` is why the answer ended."""
        if self._reader is None:
            return []
        return [self._delta(part) for part in self._reader.finish(cut=reason != "stop")]

    def _delta(self, part: Part) -> Delta:
        if isinstance(part, Said):
            return {"content": part.text}
        call: ToolCallDelta = {"index": part.index, "function": {"arguments": ""}}
        if isinstance(part, Called):
            call["id"] = call_id(self._answer_id, self._choice, part.index)
            call["type"] = "function"
            call["function"]["name"] = part.name
        else:
            call["function"]["arguments"] = part.text
        return {"tool_calls": [call]}
