"""The grammars of requests on their way into an engine: compiled in the thread of their submitter,
copied for each continuation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.errors import PromptmillError
from common.generation import Request
from worker.engine.sampling.grammar import Constraint

if TYPE_CHECKING:
    from common.structured.guidance import Guide, Matcher


class Grammars:
    """`guide` makes matchers for the engine's tokenizer; None: it cannot be used for grammars."""

    def __init__(self, guide: Guide | None, end_ids: frozenset[int]):
        self._guide = guide
        self._end_ids = end_ids
        # Of requests that are not open yet, by id.
        self._compiled: dict[str, Matcher | Exception] = {}

    def prepare(self, request: Request) -> None:
        """Compile the grammar of a request. May be called from any thread, and may take a while."""
        if request.grammar and self._guide:
            try:
                self._compiled[request.id] = self._guide.matcher(request.grammar)
            except Exception as error:  # it fails this request only
                self._compiled[request.id] = error

    def refusal(self, request: Request) -> tuple[str, str] | None:
        """Why a request that was prepared cannot run, as `(code, message)`."""
        if request.grammar and self._guide is None:
            return "unsupported", "this model's tokenizer cannot be used for structured output"
        found = self._compiled.get(request.id)
        return (found.code, found.message) if isinstance(found, PromptmillError) else None

    def constraint(self, request: Request) -> Constraint | None:
        """What binds a new continuation of a request that was prepared.

        Raises:
            Exception: the grammar could not be compiled.
        """
        found = self._compiled.get(request.id)
        if isinstance(found, Exception):
            raise found
        if found is None and request.thinking is None:
            return None
        return Constraint(found.copy() if found else None, request.thinking, self._end_ids)

    def forget(self, request_id: str) -> None:
        """The request is open, or was refused."""
        self._compiled.pop(request_id, None)
