"""Log-probabilities of tokens as OpenAI's client reads them: the bytes of the tokens, joined, are
the answer's text.

Rows hold one entry for each token that was generated. Some of those are no part of the text: the
end token, and what a stop string cut off. Others are a part of a character, which only stands in
the text once it is whole.
"""

from __future__ import annotations

from typing import Any

# As a row has it (`web.schemas.answers.LogprobView`); here with `offset`: where it begins in the
# text.
Entry = dict[str, Any]


class TokenWindow:
    """Hands out the entries of one answer's tokens as the text that they make is told; `start` is
    where that begins."""

    def __init__(self, start: int = 0):
        self._held: list[Entry] = []
        self._waits = 0  # bytes that were told without their tokens
        self.place = start  # characters before the next token
        self._inside = False  # some token has begun a character

    def push(self, entries: list[Entry], text: str) -> list[Entry]:
        """More tokens, and the text that was told with them. Returns the entries whose text was
        told by now."""
        self._held += entries
        self._waits += len(text.encode())
        count = told = reached = 0
        for number, entry in enumerate(self._held, 1):
            reached += len(_added(entry))
            if reached > self._waits:
                break
            if _added(entry):  # others may be the end token: they go with what follows them
                count, told = number, reached
        self._waits -= told
        return self._take(count)

    def finish(self, reason: str) -> list[Entry]:
        """The answer is over. What is left after a `stop` is no part of it, but for the beginning
        of a token."""
        if reason == "stop":
            cut = [(entry, _added(entry)[: self._waits]) for entry in self._held[:1] if self._waits]
            self._held = [entry | {"bytes": list(part)} for entry, part in cut]
        return self._take(len(self._held))

    def _take(self, count: int) -> list[Entry]:
        taken, self._held = self._held[:count], self._held[count:]
        return [self.put(entry) for entry in taken]

    def put(self, entry: Entry) -> Entry:
        """The next token, with its offset."""
        added = _added(entry)
        continues = bool(added) and self._inside and _continues(added[0])
        offset = self.place - continues
        for byte in added:
            if not (_continues(byte) and self._inside):
                self.place += 1
            self._inside = True
        return entry | {"offset": offset}


def placed(entries: list[Entry], text: str) -> list[Entry]:
    """All tokens of a prompt, with their offsets. Special tokens that were written into it stand in
    its text."""
    window = TokenWindow()
    found = []
    for entry in entries:
        written = not _added(entry) and text.startswith(entry["token"], window.place)
        found.append(window.put(entry | {"bytes": None} if written else entry))
    return found


def chat_logprobs(found: list[Entry] | None) -> dict[str, Any] | None:
    if found is None:
        return None
    content = [
        _chat_logprob(each) | {"top_logprobs": [_chat_logprob(top) for top in each["top"]]}
        for each in found
    ]
    return {"content": content, "refusal": None}


def completion_logprobs(found: list[Entry] | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "tokens": [_name(each) for each in found],
        "token_logprobs": [each["logprob"] for each in found],
        "top_logprobs": [_alternatives(each) for each in found],
        "text_offset": [each["offset"] for each in found],
    }


def _added(entry: Entry) -> bytes:
    """What a token adds to the text."""
    raw = entry.get("bytes")
    return entry["token"].encode() if raw is None else bytes(raw)


def _continues(byte: int) -> bool:
    """Whether a byte stands inside a character's UTF-8, not at its beginning."""
    return byte & 0xC0 == 0x80


def _name(entry: Entry) -> str:
    """A part of a character is named by its bytes, as OpenAI's completions name it."""
    return (
        f"bytes:{entry['token']}"
        if entry.get("bytes") and "\\x" in entry["token"]
        else entry["token"]
    )


def _chat_logprob(found: Entry) -> dict[str, Any]:
    return {"token": found["token"], "logprob": found["logprob"], "bytes": list(_added(found))}


def _alternatives(found: Entry) -> dict[str, float] | None:
    """By text, as the client has it; of tokens that look the same the likeliest. The token itself
    is always in."""
    if found["logprob"] is None:
        return None
    told: dict[str, float] = {}
    for each in (*found["top"], found):
        name = _name(each)
        told[name] = max(each["logprob"], told.get(name, each["logprob"]))
    return told
