"""Tells what happens while the workers of `promptmill up` load the model."""

from __future__ import annotations

import time
from pathlib import Path

from cli.terminal import PrintLine
from common.settings import Settings

EVERY = 10.0  # seconds between two lines
LAST_BYTES = 4096  # of a log, in which its last line is looked for


class Loading:
    """Prints a line at once, one every ten seconds, and one when the models are loaded: the model,
    and it with each adapter."""

    def __init__(self, settings: Settings, logs: Path, print_line: PrintLine):
        self._model, *self._with_adapters = settings.served_models
        self._log = logs / "worker-1.log"
        self._print_line = print_line
        self._began = self._told = time.monotonic()
        self.done = False
        print_line(f"Loading {self._model} …")

    def look(self, ready: bool) -> None:
        """Print what is to be said by now."""
        now = time.monotonic()
        if ready:
            self.done = True
            beside = f" Beside it: {', '.join(self._with_adapters)}." if self._with_adapters else ""
            self._print_line(f"Ready: {self._model} is loaded.{beside}")
        elif now - self._told >= EVERY:
            self._told = now
            self._print_line(
                f"Still loading {self._model}, {now - self._began:.0f} s: {self._last_line()}"
            )

    def _last_line(self) -> str:
        """What the first worker logged last."""
        try:
            with self._log.open("rb") as file:
                file.seek(max(file.seek(0, 2) - LAST_BYTES, 0))
                lines = file.read().decode(errors="replace").split("\n")
        except OSError:
            lines = []
        said = [line.rpartition("\r")[2].strip() for line in lines]
        return next((line for line in reversed(said) if line), "no output yet") + f" ({self._log})"
