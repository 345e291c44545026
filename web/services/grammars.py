"""Finds out whether output formats and calls can be honoured, by building their grammars as workers
do.

`grammar_builder.py` builds them in processes of their own, two at once, and tenants take turns.
What was found out is kept by content, whoever asked. Why so:
`docs/decisions/0015-grammar-builders.md`.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import cached_property

from pydantic_core import to_json

from common.errors import ErrorDict
from common.structured.output_format import OutputFormat
from common.structured.tool_prompt import ToolFormat
from common.structured.tools import ToolSet
from web.services.grammar_process import GrammarProcess
from web.services.turns import Turns

AT_ONCE = 2
WAITING = 64  # of one tenant
PATIENCE = 10.0  # seconds
MOST_KNOWN = 4096  # verdicts


@dataclass(frozen=True)
class Asked:
    """What an item's text must be: its format, and the calls that it must or may have, which its
    model writes in the `form`."""

    output: OutputFormat | None = None
    tools: ToolSet | None = None
    form: ToolFormat = "generic"

    @cached_property
    def line(self) -> bytes:
        """As the builder reads it."""
        tools = self.tools and self.tools.stored()
        return to_json({"output": self.output, "tools": tools, "form": self.form}) + b"\n"

    @cached_property
    def key(self) -> bytes:
        """The same for equal ones, and for no others."""
        return hashlib.sha256(self.line).digest()


@dataclass(frozen=True)
class Verdict:
    """Why something cannot be honoured, None if it can; then `least` are the characters that a text
    of it has at least. It took `seconds` of processor time to find out, 0 if it was known."""

    error: ErrorDict | None
    least: int = 0
    seconds: float = 0.0


class Grammars:
    """One per process."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, Verdict] = OrderedDict()
        self._lock = threading.Lock()
        self._idle: list[GrammarProcess] = []
        self._turns = Turns(
            "output formats to be checked", most=AT_ONCE, waiting=WAITING, patience=PATIENCE
        )

    def check(self, tenant: str, asked: Asked) -> Verdict:
        """
        Raises:
            Unavailable: as many of the tenant wait as may, or this one waited too long.
        """
        if known := self._found(asked):
            return known
        with self._turns.turn(tenant):
            if known := self._found(asked):  # built meanwhile, for another request
                return known
            found = self._built(asked)
        with self._lock:
            self._known[asked.key] = replace(found, seconds=0.0)
            while len(self._known) > MOST_KNOWN:
                self._known.popitem(last=False)
        return found

    def end(self) -> None:
        """End the processes that wait for work."""
        while self._idle:
            self._idle.pop().end()

    def _found(self, asked: Asked) -> Verdict | None:
        with self._lock:
            if asked.key in self._known:
                self._known.move_to_end(asked.key)
            return self._known.get(asked.key)

    def _built(self, asked: Asked) -> Verdict:
        try:
            builder = self._idle.pop()
        except IndexError:
            builder = GrammarProcess()
        error, least, seconds = builder.build(asked.line)
        self._idle.append(builder)
        return Verdict(error, least, seconds)
