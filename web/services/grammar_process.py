"""A process that builds grammars, as the web process sees it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import weakref
from contextlib import suppress
from pathlib import Path

from common.errors import ErrorDict, Unavailable

# Why it cannot be honoured, None if it can; the characters that a text of it has at least; and the
# seconds of processor time that it took.
Built = tuple[ErrorDict | None, int, float]
MODULE = "web.services.grammar_builder"
ROOT = Path(__file__).parents[2]  # what it imports its modules from
SECONDS = 0.5  # of processor time, for what is asked in a line
PATIENCE = 20.0  # seconds, by the clock: on a machine that is very busy


class GrammarProcess:
    """Starts at once. It ends with the web process, with this object, or by `end`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self._is_ready = False
        self.end = weakref.finalize(self, _end, self._process)

    def build(self, line: bytes) -> Built:
        """What became of what is asked by this line.

        Raises:
            Unavailable: the process did not answer, or not in time; it is ended.
        """
        clock = threading.Timer(PATIENCE, self._process.kill)
        clock.start()
        try:
            if not self._is_ready:
                self._answer()
                self._is_ready = True
            found = self._answer(line)
        except (OSError, EOFError):
            self.end()
            raise Unavailable("output formats cannot be checked now; try again") from None
        except BaseException:
            self.end()
            raise
        finally:
            clock.cancel()
        return found

    def _answer(self, asked: bytes | None = None) -> Built:
        assert self._process.stdin and self._process.stdout
        if asked is not None:
            self._process.stdin.write(asked)
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise EOFError
        error, least, seconds = json.loads(line)
        return error, least, seconds


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):  # what was not read any more
            if pipe:
                pipe.close()
