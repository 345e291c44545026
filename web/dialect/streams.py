"""An interactive request's answer as server-sent events: what was said as it comes, then how it ended.

Tokens come from the worker as they are generated; whatever of them did not get here is completed from the results.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from typing import Any

from common.errors import PromptmillError
from web.dialect import answers
from web.dialect.errors import error_body, row_error
from web.dialect.live import ClientGone, Live
from web.dialect.logprobs import Entry, TokenWindow, chat_logprobs, completion_logprobs
from web.dialect.requests import Ask
from web.services import Services
from web.told import Told, heard

HEARTBEAT = 15.0  # seconds of silence that proxies are sure to bear

log = logging.getLogger(__name__)


def stream(services: Services, live: Live, ask: Ask, prompts: list[str], *, id_: str, created: int) -> Iterator[bytes]:
    """The events; an error after the first of them is one, too. Whoever sends them closes `live`."""
    try:
        yield from _Chunks(services, live, ask, prompts, id_, created).all()
    except ClientGone:
        return
    except PromptmillError as error:
        if error.status >= 500 and not error.retry:
            log.error("%s", error, exc_info=error, extra={"job": live.job_id})
        yield _data(error_body(error.status, error.code, error.message))
    yield b"data: [DONE]\n\n"


class _Chunks:
    def __init__(self, services: Services, live: Live, ask: Ask, prompts: list[str], id_: str, created: int):
        self._services = services
        self._live = live
        self._ask = ask
        self._prompts = prompts
        self._frame = answers.chunk(ask, [], id_=id_, created=created)
        self._told = Told()
        self._lengths: dict[int, int] = {}  # characters told of each choice
        self._windows: dict[int, TokenWindow] = {}  # of each choice with log-probabilities

    def all(self) -> Iterator[bytes]:
        yield from self._opening()
        last = time.monotonic()
        while True:
            over = self._live.over  # before the tokens: one that is over has none to come
            for piece in self._told.take(heard(self._services.store, self._live.job_id, self._live.watch)):
                if not self._ask.scored:
                    choice = piece.index * self._ask.n + piece.output
                    yield self._delta(choice, piece.text, self._entries(choice, piece.text, piece.logprobs))
                    last = time.monotonic()
            if over:
                break
            self._live.wait()
            if time.monotonic() - last > HEARTBEAT:
                yield b": still here\n\n"
                last = time.monotonic()
        yield from self._ends(self._live.rows())

    def _opening(self) -> Iterator[bytes]:
        if self._ask.endpoint == "/v1/chat/completions":
            for index in range(self._ask.n):
                yield self._chunk(answers.opening(index))
        elif self._ask.echo:
            for place, prompt in enumerate(self._prompts):
                for output in range(self._ask.n):
                    yield self._delta(place * self._ask.n + output, prompt, None)

    def _ends(self, rows: list[dict[str, Any]]) -> Iterator[bytes]:
        """What was not told, and how each choice ended."""
        for index, row in enumerate(rows):
            if failed := row_error(row):
                yield _data(failed[1])
                return
            for output, found in enumerate(row["outputs"]):
                yield from self._end(index, output, found)
        if self._ask.include_usage:
            yield _data(self._frame | {"usage": answers.usage(self._ask, rows)})

    def _end(self, index: int, output: int, found: dict[str, Any]) -> Iterator[bytes]:
        choice = index * self._ask.n + output
        prompt = len(self._prompts[index]) if self._ask.echo else 0
        rest = found["text"][self._lengths.get(choice, 0) - prompt :]
        logprobs = found["logprobs"] and found["logprobs"][self._told.had(index, output) :]
        entries = self._entries(choice, rest, logprobs, found["finish_reason"])
        if not self._ask.scored and (rest or entries):
            yield self._delta(choice, rest, entries)
        reason = "length" if self._ask.scored else answers.reason(found["finish_reason"])
        yield self._chunk(answers.delta(self._ask, choice, "", finish_reason=reason))

    def _entries(
        self, choice: int, text: str, logprobs: list[Entry] | None, ended: str | None = None
    ) -> list[Entry] | None:
        """The log-probabilities to tell with this text; `ended`: how, if it is the last."""
        if logprobs is None:
            return None
        window = self._windows.setdefault(choice, TokenWindow(self._lengths.get(choice, 0)))
        return window.push(logprobs, text) + (window.finish(ended) if ended else [])

    def _delta(self, choice: int, text: str, logprobs: list[Entry] | None) -> bytes:
        self._lengths[choice] = self._lengths.get(choice, 0) + len(text)
        shape = chat_logprobs if self._ask.endpoint == "/v1/chat/completions" else completion_logprobs
        return self._chunk(answers.delta(self._ask, choice, text, logprobs=shape(logprobs)))

    def _chunk(self, choice: dict[str, Any]) -> bytes:
        return _data(self._frame | {"choices": [choice]})


def _data(body: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(body, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()
