"""Log-probabilities of tokens as OpenAI's client reads them: the bytes of the tokens, joined, are
the answer's text.

Rows hold one entry for each token that was generated. Some of those are not part of the text: the
end token, and what a stop string cut off. Others are a part of a character, which is in the text
only when all its bytes are there.
"""

from __future__ import annotations

from common.result_row import RowOutput, SpelledToken, TokenLogprob
from web.openai.completion_schemas import (
    ChatLogprobs,
    ChatTopLogprob,
    CompletionLogprobs,
)

END_OF_THOUGHTS = "</think>"


def after_thoughts(entries: list[TokenLogprob]) -> list[TokenLogprob] | None:
    """The entries of the tokens after a model's thoughts; None if these do not end here."""
    for place, entry in enumerate(entries):
        if entry["token"] == END_OF_THOUGHTS:
            return entries[place + 1 :]
    return None


def of_answer(output: RowOutput) -> list[TokenLogprob]:
    """The entries of an output's tokens without those of its thoughts."""
    entries, thoughts = output["logprobs"] or [], output.get("reasoning")
    rest = None if thoughts is None else after_thoughts(entries)
    return ([] if thoughts else entries) if rest is None else rest


class PlacedLogprob(TokenLogprob):
    """An entry with the character of the text at which its token begins."""

    offset: int


class LogprobAligner:
    """Gives out the entries of one answer's tokens together with the text that they make; `start`
    is the character at which that begins."""

    def __init__(self, start: int = 0):
        self._held: list[TokenLogprob] = []
        self._waits = 0  # bytes of text that were given out without their tokens
        self.place = start  # characters before the next token
        self._inside = False  # some token has begun a character

    def push(self, entries: list[TokenLogprob], text: str) -> list[PlacedLogprob]:
        """Take more tokens, and the text that goes out now. Returns the entries whose text is out
        by now."""
        self._held += entries
        self._waits += len(text.encode())
        count = done = reached = 0
        for number, entry in enumerate(self._held, 1):
            reached += len(_added(entry))
            if reached > self._waits:
                break
            # An entry without bytes may be the end token: it goes out with the one after it.
            if _added(entry):
                count, done = number, reached
        self._waits -= done
        return self._take(count)

    def finish(self, reason: str) -> list[PlacedLogprob]:
        """Returns the rest at the end of the answer. After a `stop`, only the beginning of a token
        may still be part of the text."""
        if reason == "stop":
            cut = [(entry, _added(entry)[: self._waits]) for entry in self._held[:1] if self._waits]
            self._held = [{**entry, "bytes": list(part)} for entry, part in cut]
        return self._take(len(self._held))

    def _take(self, count: int) -> list[PlacedLogprob]:
        taken, self._held = self._held[:count], self._held[count:]
        return [self.put(entry) for entry in taken]

    def put(self, entry: TokenLogprob) -> PlacedLogprob:
        """The next token, with its offset."""
        added = _added(entry)
        continues = bool(added) and self._inside and _continues(added[0])
        offset = self.place - continues
        for byte in added:
            if not (_continues(byte) and self._inside):
                self.place += 1
            self._inside = True
        return {**entry, "offset": offset}


def prompt_logprobs(entries: list[TokenLogprob], text: str) -> list[PlacedLogprob]:
    """All tokens of a prompt, with their offsets. Special tokens that were written into the prompt
    are in its text."""
    aligner = LogprobAligner()
    found = []
    for entry in entries:
        written = not _added(entry) and text.startswith(entry["token"], aligner.place)
        found.append(aligner.put({**entry, "bytes": None} if written else entry))
    return found


def chat_logprobs(found: list[PlacedLogprob] | None) -> ChatLogprobs | None:
    if found is None:
        return None
    return {
        "content": [
            {
                "token": each["token"],
                "logprob": each["logprob"],
                "bytes": list(_added(each)),
                "top_logprobs": [_chat_top(top, top["logprob"]) for top in each["top"]],
            }
            for each in found
        ],
        "refusal": None,
    }


def completion_logprobs(found: list[PlacedLogprob] | None) -> CompletionLogprobs | None:
    if found is None:
        return None
    return {
        "tokens": [_name(each) for each in found],
        "token_logprobs": [each["logprob"] for each in found],
        "top_logprobs": [_alternatives(each) for each in found],
        "text_offset": [each["offset"] for each in found],
    }


def _added(entry: SpelledToken) -> bytes:
    """The bytes that a token adds to the text."""
    raw = entry.get("bytes")
    return entry["token"].encode() if raw is None else bytes(raw)


def _continues(byte: int) -> bool:
    """Whether a byte is inside a character's UTF-8, not its first."""
    return byte & 0xC0 == 0x80


def _name(entry: SpelledToken) -> str:
    """A part of a character is named by its bytes, as OpenAI's completions name it."""
    if entry.get("bytes") and "\\x" in entry["token"]:
        return f"bytes:{entry['token']}"
    return entry["token"]


def _chat_top(token: SpelledToken, logprob: float) -> ChatTopLogprob:
    return {"token": token["token"], "logprob": logprob, "bytes": list(_added(token))}


def _alternatives(found: TokenLogprob) -> dict[str, float] | None:
    """By name, as the client has it; of tokens with one name the most likely. The token itself is
    always among them."""
    if found["logprob"] is None:
        return None
    named: dict[str, float] = {}
    for each in found["top"]:
        name = _name(each)
        named[name] = max(each["logprob"], named.get(name, each["logprob"]))
    own = _name(found)
    named[own] = max(found["logprob"], named.get(own, found["logprob"]))
    return named
