"""The token ids in what was streamed of an item, from which another worker goes on."""

from __future__ import annotations

import json
from typing import Any

from common.generation import NewToken, Request, Spelling, TokenLogprob
from common.params import SamplingParams
from web.follow.stream_cursor import StreamCursor
from worker.held_items import HeldItem
from worker.token_publisher import TokenPublisher, said_tokens

SURE = TokenLogprob(Spelling(5, "x"), -0.5, [])
TOKENS = [
    NewToken(0, 7, "a", reasoning=True),
    NewToken(1, 5, "x", SURE),
    NewToken(0, 8, "b"),
    NewToken(0, 2, ""),
]


def published(*, with_ids: bool) -> list[bytes]:
    """The entries of an item that goes on behind two tokens of its first continuation."""
    entries: list[bytes] = []

    class Sent:
        def stream(self, said: list[tuple[str, int, int, str]]) -> None:
            entries.extend(entry.encode() for *_, entry in said)

    publisher = TokenPublisher()
    publisher.use(Sent())  # type: ignore[arg-type]
    request = Request("r", "", [1], SamplingParams(n=2), 0, resume=[[3, 4], []])
    item = HeldItem("job_1", 0, 1, 7, 0.0, 0.0, streamed=True)
    publisher.follow(item, request, with_ids=with_ids)
    assert request.on_token
    for token in TOKENS:
        request.on_token(token)
        publisher.flush()
    return entries


def entry(*parts: tuple[int, int, list[Any]]) -> bytes:
    return json.dumps(parts).encode()


def test_ids_come_back_and_clients_have_the_same_with_them_and_without() -> None:
    first = entry((0, 0, [["p", None, 0, 3], ["q", None, 0, 4]]))
    entries = published(with_ids=True)
    assert said_tokens([first, *entries]) == [[3, 4, 7, 8, 2], [5]]
    plain = published(with_ids=False)
    seen = [
        list(StreamCursor().take((0, each) for each in [first, *said])) for said in (entries, plain)
    ]
    assert seen[0] == seen[1] and len(seen[0]) == 5


def test_entries_without_ids_have_none() -> None:
    assert said_tokens(published(with_ids=False)) == [[], []]
    assert said_tokens([]) == []


def test_nothing_counts_behind_a_gap_or_behind_a_token_without_an_id() -> None:
    late, unknown = [["d", None, 0, 6]], ["b", ["c", None, 0, 5]]
    assert said_tokens([entry((0, 0, [["a", None, 0, 4]])), entry((0, 2, late))]) == [[4]]
    assert said_tokens([entry((0, 0, [["a", None, 0, 4], *unknown]))]) == [[4]]


def test_of_tokens_that_came_twice_the_first_count() -> None:
    """So it is at clients, who drop the later ones."""
    first = entry((0, 0, [["a", None, 0, 4], ["b", None, 0, 5]]))
    again = entry((0, 1, [["c", None, 0, 9], ["d", None, 0, 6]]))
    assert said_tokens([first, again, first]) == [[4, 5, 6]]
