"""An engine whose requests end when a test says so."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from common.generation import Finished, Output, Request
from tests.support.waiting import wait_until
from worker.engine.protocol import EngineThread
from worker.engine.scheduling.mailbox import Reason


class ManualEngine(EngineThread):
    """`inside` are the requests that it has, by their ids."""

    context = 8192

    def __init__(self, slots: int):
        super().__init__("manual-engine", slots=slots)
        self.inside: dict[str, Request] = {}
        self.most = 0  # requests that it ever had at once
        self.refused: set[str] = set()  # prompts of requests that it does not take
        # Called before a request is queued, in the thread that submits it.
        self.on_prepare: Callable[[Request], object] = lambda _request: None

    def end(self, request_id: str, reason: Reason | None = None) -> None:
        """End a request: with its answer, or with a reason."""
        request = self.inside.pop(request_id)
        outputs = [Output("said", [7], reason or "stop") for _ in range(request.params.n)]
        self._mail.finish([Finished(request_id, outputs, len(request.prompt_ids))])

    def end_one(self, adapter: str | None) -> None:
        """End the oldest request that has this adapter."""
        self.end(next(each.id for each in self.inside.values() if each.adapter == adapter))

    def wait_for(self, *adapters: str | None) -> None:
        """Wait until these are the adapters of the requests that it has, in any order."""
        wait_until(
            lambda: sorted(map(str, adapters)) == sorted(str(each) for each in self.held()),
            lambda: self.held(),
            10,
        )

    def held(self) -> list[str | None]:
        return [each.adapter for each in list(self.inside.values())]

    def submit(self, request: Request) -> None:
        if request.prompt in self.refused:
            raise ValueError("a bug")
        super().submit(request)

    def checkpoint(self, _request_ids: Iterable[str], /) -> dict[str, list[list[int]]]:
        return {}

    def _warm_up(self) -> None:
        """There is no model."""

    def _prepare(self, request: Request) -> None:
        self.on_prepare(request)

    def _run(self) -> None:
        while (mail := self._mail.take(None)) is not None:
            requests, wishes = mail
            self.inside.update((each.id, each) for each in requests)
            self.most = max(self.most, len(self.inside))
            for request_id, reason in wishes.items():
                self.end(request_id, reason)
