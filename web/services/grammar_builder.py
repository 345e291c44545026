"""Builds the grammars of what is asked for on its standard input, a line of JSON each, and writes
what became of each.

A process of its own, because nothing interrupts the library that builds them, and some grammars of
a few hundred characters would keep it busy for hours: the kernel ends the process when one takes
too much time or memory. What it ends is a fork, and the next fork takes its place: it has the
library and the vocabulary loaded, and the web process need not start anything. It writes a line
when it is ready, and one for each that was asked: the error that says why it cannot be honoured, or
null, the characters that a text has at least, and the seconds of processor time that this took.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from common.errors import ErrorDict, InvalidRequest
from common.structured.guidance import Guide, byte_guide
from common.structured.output_format import OutputFormat
from common.structured.tool_grammar import item_grammar
from common.structured.tools import ToolSet
from common.types import JsonObject
from web.services.grammar_process import SECONDS

MEMORY = 512 * 2**20  # bytes above what it takes at its start
NICENESS = 5  # the web process goes first
TOO_MUCH = InvalidRequest(
    "it takes too much time or memory to be built; make it simpler", code="invalid_grammar"
).as_dict()


def main() -> None:
    guide = byte_guide()
    _bound_memory()
    os.nice(NICENESS)
    _write(None, 0, 0.0)
    while (fork := os.fork()) and os.waitpid(fork, 0)[1] != 0:
        _write(TOO_MUCH, 0, SECONDS)
    if not fork:
        _serve(guide)


def _serve(guide: Guide) -> None:
    for line in sys.stdin.buffer:
        # The signal at its end is not caught: it ends the process, whatever that is doing.
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        began = time.process_time()
        found = _built(guide, json.loads(line))
        signal.setitimer(signal.ITIMER_PROF, 0)
        _write(*found, time.process_time() - began)
    os._exit(0)


def _built(guide: Guide, asked: JsonObject) -> tuple[ErrorDict | None, int]:
    output, tools = asked["output"], asked["tools"]
    try:
        grammar = item_grammar(
            OutputFormat.model_validate(output) if output else None,
            ToolSet.model_validate(tools) if tools else None,
            asked["form"],
        )
        if grammar is not None:
            guide.built(grammar)
    except InvalidRequest as error:
        return error.as_dict(), 0
    return None, grammar.least if grammar else 0


def _bound_memory() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):  # without /proc the limit would be a guess, and macOS enforces none
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, taken + MEMORY))


def _write(error: ErrorDict | None, least: int, seconds: float) -> None:
    sys.stdout.buffer.write(json.dumps([error, least, seconds]).encode() + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
