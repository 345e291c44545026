"""Thoughts, text and calls are told apart, and a stream tells the same as a whole answer."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from openai.types.chat import ChatCompletion

from web.openai import chat_stream, rendering
from web.openai.answer_options import AnswerOptions
from web.openai.chat_answers import call_id
from web.openai.errors import row_error

CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
TOOLS: Any = {"functions": [{"name": "add"}, {"name": "sub"}]}
FORCED = {**TOOLS, "choice": "required"}


def options(**fields: Any) -> AnswerOptions:
    return AnswerOptions("/v1/chat/completions", "m", **fields)


def token(text: str, added: str | None = None) -> Any:
    entry: dict[str, Any] = {"token": text, "token_id": 1, "logprob": -0.5, "top": []}
    return entry if added is None else {**entry, "bytes": list(added.encode())}


def output(text: str, reason: str = "stop", **fields: Any) -> Any:
    return {
        "text": text,
        "finish_reason": reason,
        "token_count": 9,
        "logprobs": None,
    } | fields


def row(*outputs: Any) -> Any:
    usage = {"prompt_tokens": 3, "completion_tokens": 9, "total_tokens": 12}
    return {
        "status": "succeeded",
        "outputs": [*outputs],
        "usage": usage,
        "error": None,
        "prompt_logprobs": None,
        "seed": 1,
    }


def whole(given: AnswerOptions, *outputs: Any) -> list[Any]:
    body = rendering.render_completion(given, [row(*outputs)], id_="chatcmpl-1", created=5)
    ChatCompletion.model_validate(body, strict=True)
    return list(body["choices"])


class Live:
    """A request whose tokens come in these entries, and then its rows."""

    def __init__(self, entries: list[Any], outputs: list[Any]):
        self.entries = [(0, json.dumps(entry).encode()) for entry in entries]
        self._row = row(*outputs)
        self.job_id, self.model, self.prompt_tokens, self.began = "job_1", "m", 3, 0.0
        self.watch = None

    @property
    def over(self) -> bool:
        return not self.entries

    def wait(self) -> None:
        """All there is came."""

    def rows(self) -> Any:
        return [self._row]


def streamed(
    monkeypatch: pytest.MonkeyPatch, given: AnswerOptions, entries: list[Any], *outputs: Any
) -> dict[int, dict[str, Any]]:
    """What a client makes of a stream, by choice: the message, its log-probabilities, its end."""
    live = Live(entries, [*outputs])
    monkeypatch.setattr(
        chat_stream,
        "new_entries",
        lambda *_: [live.entries.pop(0)] if live.entries else [],
    )
    services: Any = SimpleNamespace(store=None, tally=SimpleNamespace(observe=lambda *_: None))
    found: dict[int, dict[str, Any]] = {}
    asked: Any = live
    for event in chat_stream.stream(services, asked, given, [], id_="chatcmpl-1", created=5):
        data = event.decode().removeprefix("data: ").strip()
        if data == "[DONE]":
            break
        (choice,) = json.loads(data)["choices"]
        kept = found.setdefault(choice["index"], {"logprobs": [], "calls": {}})
        kept["logprobs"] += (choice["logprobs"] or {"content": []})["content"]
        kept["end"] = choice["finish_reason"]
        delta = choice["delta"]
        for name in ("content", "reasoning_content"):
            if delta.get(name) is not None:
                kept[name] = kept.get(name, "") + delta[name]
        for each in delta.get("tool_calls", ()):
            call = kept["calls"].setdefault(each["index"], {"arguments": ""})
            call |= {name: each[name] for name in ("id", "type") if name in each}
            call |= {"name": each["function"]["name"]} if "name" in each["function"] else {}
            call["arguments"] += each["function"]["arguments"]
    return found


def same(choice: Any, kept: dict[str, Any]) -> None:
    """A whole answer and what a client made of the stream of it."""
    message = choice["message"]
    assert kept.get("content") == (message["content"] or (kept.get("content") and ""))
    assert kept.get("reasoning_content") == message.get("reasoning_content")
    calls = [
        {"id": call["id"], "type": call["type"], **call["function"]}
        for call in message.get("tool_calls", ())
    ]
    assert [kept["calls"][place] for place in sorted(kept["calls"])] == calls
    assert kept["end"] == choice["finish_reason"]
    logprobs = choice["logprobs"]
    assert kept["logprobs"] == (logprobs["content"] if logprobs else [])


def pieces(text: str, size: int, output: int = 0) -> list[Any]:
    """Entries of a stream, each with a token of so many characters."""
    tokens = [text[at : at + size] for at in range(0, len(text), size)]
    return [[[output, place, [each]]] for place, each in enumerate(tokens)]


@pytest.mark.parametrize("tools", [TOOLS, FORCED])
@pytest.mark.parametrize("size", [1, 7, 200])
@pytest.mark.parametrize(
    ("text", "content", "calls"),
    [
        (CALL, None, 1),
        (f"Well.\n{CALL}\n{CALL}", "Well.", 2),
        ("No call.", "No call.", 0),
        (CALL.replace("add", "mul"), CALL.replace("add", "mul"), 0),
    ],
)
def test_a_stream_tells_the_calls_of_a_whole_answer(
    monkeypatch: pytest.MonkeyPatch, tools: Any, size: int, text: str, content: Any, calls: int
) -> None:
    given = options(tools=tools)
    (choice,) = whole(given, output(text))
    assert choice["message"]["content"] == content
    assert len(choice["message"].get("tool_calls", ())) == calls
    assert choice["finish_reason"] == ("tool_calls" if calls else "stop")
    found = streamed(monkeypatch, given, pieces(text, size), output(text))
    same(choice, found[0])
    # What was never published comes with the result.
    lost = streamed(monkeypatch, given, pieces(text, size)[:1], output(text))
    same(choice, lost[0])


@pytest.mark.parametrize("text", ["Hm. <tool_ca", "Yes. \n", "[", CALL[:-16], f"{CALL[:-16]} Oh"])
def test_what_was_held_back_is_told_in_the_end(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    given = options(tools=TOOLS)
    (choice,) = whole(given, output(text))
    assert choice["message"]["content"] == text
    for size in (1, 200):
        same(choice, streamed(monkeypatch, given, pieces(text, size), output(text))[0])


def test_choices_have_calls_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    given, texts = options(tools=TOOLS, n=2), (CALL, CALL.replace("add", "sub"))
    both = zip(pieces(texts[0], 9, 0), pieces(texts[1], 9, 1), strict=True)
    entries = [entry for pair in both for entry in pair]
    found = streamed(monkeypatch, given, entries, *map(output, texts))
    choices = whole(given, *map(output, texts))
    ids = {choice["message"]["tool_calls"][0]["id"] for choice in choices}
    assert ids == {call_id("chatcmpl-1", 0, 0), call_id("chatcmpl-1", 1, 0)} and len(ids) == 2
    for choice in choices:
        same(choice, found[choice["index"]])


def test_a_call_that_is_cut_off_ends_by_length(monkeypatch: pytest.MonkeyPatch) -> None:
    given, text = options(tools=FORCED), CALL[: CALL.index("1}}")]
    (choice,) = whole(given, output(text, "length"))
    assert choice["finish_reason"] == "length"
    assert choice["message"]["tool_calls"][0]["function"]["arguments"] == '{"a": '
    same(choice, streamed(monkeypatch, given, pieces(text, 3), output(text, "length"))[0])


THOUGHT: dict[str, Any] = {
    "reasoning": "\nHm.\n",
    "logprobs": [
        token("<think>", ""),
        token("\nHm.\n"),
        token("</think>", ""),
        token("Yes"),
        token("!"),
        token("<|end|>", ""),
    ],
}


@pytest.mark.parametrize("reasoning", [True, False])
@pytest.mark.parametrize("together", [1, 2, 3, 6])
def test_thoughts_are_told_apart(
    monkeypatch: pytest.MonkeyPatch, reasoning: bool, together: int
) -> None:
    given = options(reasoning=reasoning)
    logprobs: Any = THOUGHT["logprobs"]
    said = output("Yes!", **THOUGHT)
    (choice,) = whole(given, said)
    assert choice["message"]["content"] == "Yes!"
    assert choice["message"].get("reasoning_content") == ("\nHm.\n" if reasoning else None)
    assert [each["token"] for each in choice["logprobs"]["content"]] == ["Yes", "!"]
    tokens = [
        ["", logprobs[0], 1],
        ["\nHm.\n", logprobs[1], 1],
        ["", logprobs[2], 1],
        ["Yes", logprobs[3]],
        ["!", logprobs[4]],
        ["", logprobs[5]],
    ]
    entries = [[[0, at, tokens[at : at + together]]] for at in range(0, 6, together)]
    for published in range(len(entries) + 1):
        same(choice, streamed(monkeypatch, given, entries[:published], said)[0])


def test_thoughts_that_were_cut_off_leave_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    logprobs: Any = THOUGHT["logprobs"]
    said = output("", "length", reasoning="\nHm.\n", logprobs=logprobs[:2])
    (choice,) = whole(options(), said)
    assert choice["message"]["content"] == "" and choice["logprobs"]["content"] == []
    entries = [[[0, 0, [["", logprobs[0], 1], ["\nHm.\n", logprobs[1], 1]]]]]
    same(choice, streamed(monkeypatch, options(), entries, said)[0])


def test_log_probabilities_come_with_the_call_they_belong_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = options(tools=TOOLS)
    parts = [CALL[at : at + 9] for at in range(0, len(CALL), 9)]
    said = output(CALL, logprobs=[token(part) for part in parts])
    (choice,) = whole(given, said)
    assert "".join(each["token"] for each in choice["logprobs"]["content"]) == CALL
    entries = [[[0, at, [[part, token(part)]]]] for at, part in enumerate(parts)]
    same(choice, streamed(monkeypatch, given, entries, said)[0])


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("grammar_too_complex", 400),
        ("invalid_grammar", 400),
        ("no_token_left", 400),
        ("unsupported", 400),
        ("engine_error", 500),
    ],
)
def test_a_row_that_would_fail_again_is_a_wrong_request(code: str, status: int) -> None:
    failed = row(output("{")) | {"error": {"code": code, "message": "it failed"}}
    found = row_error(failed, chat=True)
    assert found is not None
    assert (found[0], found[1]["error"]["code"]) == (status, code)
