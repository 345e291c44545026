"""What a client has of a stream, whose thoughts are told apart from its text."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from common.generation import NewToken, Request, Spelling, TokenLogprob
from common.params import SamplingParams
from web.follow.stream_cursor import Piece, StreamCursor
from worker.held_items import HeldItem
from worker.token_publisher import TokenPublisher

ITEM = HeldItem("job_1", 0, 1, 7, 0.0, 0.0, streamed=True)
SURE = TokenLogprob(Spelling(5, "x"), -0.5, [])


class Sent:
    """Stands for an incarnation: keeps what it is told to stream."""

    def __init__(self) -> None:
        self.entries: list[bytes] = []

    def stream(self, entries: list[tuple[str, int, int, str]]) -> None:
        self.entries += [entry.encode() for *_, entry in entries]


def published(*batches: list[NewToken]) -> list[bytes]:
    """The entries of the store, a flush for each batch."""
    publisher, sent = TokenPublisher(), Sent()
    publisher.use(sent)  # type: ignore[arg-type]
    request = Request("r", "", [1], SamplingParams(), 0)
    publisher.follow(replace(ITEM), request)
    assert request.on_token
    for batch in batches:
        for token in batch:
            request.on_token(token)
        publisher.flush()
    return sent.entries


def pieces(entries: list[bytes]) -> list[Piece]:
    return list(StreamCursor().take((0, entry) for entry in entries))


def thought(text: str, logprob: TokenLogprob | None = None) -> NewToken:
    return NewToken(0, 5, text, logprob, reasoning=True)


def said(text: str, logprob: TokenLogprob | None = None) -> NewToken:
    return NewToken(0, 5, text, logprob)


def test_thoughts_reach_the_client_apart_from_the_text() -> None:
    (piece,) = pieces(published([thought("Let me"), thought(" see"), thought(""), said("42")]))
    assert (piece.reasoning, piece.text, len(piece.texts)) == ("Let me see", "42", 4)
    assert piece.logprobs is None
    shown: dict[str, Any] = piece.shown()
    assert (shown["reasoning"], shown["text"], shown["tokens"]) == ("Let me see", "42", 4)


def test_text_alone_is_written_as_before_and_has_no_reasoning() -> None:
    entries = published([said("a"), said("b")])
    assert json.loads(entries[0]) == [[0, 0, ["a", "b"]]]
    (piece,) = pieces(entries)
    assert piece.reasoning is None and "reasoning" not in piece.shown()


def test_each_token_has_its_log_probability_thoughts_included() -> None:
    (piece,) = pieces(published([thought("a", SURE), said("b", SURE)]))
    assert piece.logprobs and len(piece.logprobs) == len(piece.texts) == 2
    assert (piece.reasoning, piece.text) == ("a", "b")


def test_tokens_that_were_sent_are_not_sent_again_whether_thoughts_or_text() -> None:
    entries = published([thought("a"), thought("b")], [said("c")])
    cursor = StreamCursor()
    first = list(cursor.take([(0, entries[0])]))
    again = list(StreamCursor(cursor.text).take((0, entry) for entry in entries))
    assert [piece.reasoning for piece in first] == ["ab"]
    assert [(piece.reasoning, piece.text) for piece in again] == [(None, "c")]
