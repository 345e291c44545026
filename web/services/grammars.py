"""Finds out whether output formats can be honoured, by building their grammars as workers do.

A C library builds them, which nothing interrupts and which would hold up all other requests of the
process. So bounds come before it (`common/structured/grammar.py`), it works in real threads, two at
once, and tenants take turns. What was found out is kept by content, whoever asked.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property

import gevent

from common.errors import ErrorDict, InvalidRequest
from common.structured.grammar import Grammar
from common.structured.guidance import Guide, byte_guide
from web.services.turns import Turns

AT_ONCE = 2
WAITING = 64  # of one tenant
PATIENCE = 10.0  # seconds
MOST_KNOWN = 4096  # grammars; of one that is refused also the message


@dataclass(frozen=True)
class Verdict:
    """Why a grammar cannot be honoured, None if it can; and the seconds that building it took, 0 if
    that was known."""

    error: ErrorDict | None
    seconds: float = 0.0


class Grammars:
    """One per process."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, ErrorDict | None] = OrderedDict()
        self._lock = threading.Lock()
        self._turns = Turns(
            "output formats to be checked", most=AT_ONCE, waiting=WAITING, patience=PATIENCE
        )

    def check(self, tenant: str, grammar: Grammar) -> Verdict:
        """
        Raises:
            Unavailable: as many of the tenant wait as may, or this one waited too long.
        """
        if known := self._verdict(grammar.key):
            return known
        with self._turns.turn(tenant):
            if known := self._verdict(grammar.key):  # built meanwhile, for another request
                return known
            began = time.monotonic()
            error = gevent.get_hub().threadpool.apply(self._error, (grammar,))
            took = time.monotonic() - began
        with self._lock:
            self._known[grammar.key] = error
            while len(self._known) > MOST_KNOWN:
                self._known.popitem(last=False)
        return Verdict(error, took)

    def _verdict(self, key: str) -> Verdict | None:
        with self._lock:
            if key not in self._known:
                return None
            self._known.move_to_end(key)
            return Verdict(self._known[key])

    def _error(self, grammar: Grammar) -> ErrorDict | None:
        try:
            self._guide.matcher(grammar)
        except InvalidRequest as error:
            return error.as_dict()
        return None

    @cached_property
    def _guide(self) -> Guide:
        """With a token for each byte: whether a grammar can be built does not depend on the
        model."""
        return byte_guide()
