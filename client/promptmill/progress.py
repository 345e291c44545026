"""Shows how far a job is: one line that is written over on a terminal or in a notebook, and a line
now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque
from typing import Any

from promptmill.shapes import Job, ended

WIDTH = 24  # characters of the bar
BETWEEN_LINES = 15.0  # seconds between two lines where nothing can be written over
WINDOW = 60.0  # seconds over which the rate is measured


class Progress:
    """What is shown of one job. `shown` None: on a terminal and in a notebook, and not in a
    program whose stderr goes to a file."""

    def __init__(self, shown: bool | None = None):
        self._notebook = _notebook_display()
        self._over = bool(self._notebook) or sys.stderr.isatty()
        self._shown = self._over if shown is None else shown
        self._last = ""
        self._last_at = -BETWEEN_LINES
        self._seen: deque[tuple[float, int]] = deque()  # when so many items were finished

    def job(self, job: Job) -> None:
        """Show a job as it stands."""
        now, done = time.monotonic(), ended(job)
        self._seen.append((now, done))
        while now - self._seen[0][0] > WINDOW:
            self._seen.popleft()
        over = done == job["counts"]["total"]
        self._show(describe(job, self._rate()), always=over)

    def note(self, text: str) -> None:
        """Show a sentence in the job's place, such as why nothing goes on."""
        self._show(text.splitlines()[0])

    def say(self, text: str) -> None:
        """Show a sentence on a line of its own, which stays, whatever else is shown."""
        self.end()
        print(text, file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave the line as it is."""
        if self._last and self._shown and self._over and not self._notebook:
            print(file=sys.stderr, flush=True)
        self._last = ""

    def _rate(self) -> float:
        """Items a second, of late."""
        (start, first), (end, last) = self._seen[0], self._seen[-1]
        return (last - first) / (end - start) if end > start else 0.0

    def _show(self, text: str, always: bool = False) -> None:
        if not self._shown or text == self._last:
            return
        if not self._over:
            if not always and time.monotonic() - self._last_at < BETWEEN_LINES:
                return
            print(text, file=sys.stderr, flush=True)
        elif self._notebook:
            self._notebook.show(text)
        else:
            blank = " " * (len(self._last) - len(text))
            print(f"\r{text}{blank}", end="", file=sys.stderr, flush=True)
        self._last, self._last_at = text, time.monotonic()


def describe(job: Job, rate: float) -> str:
    """One line: a bar, how much is done, how fast, and what it waits for."""
    total, done, failed = job["counts"]["total"], ended(job), job["counts"]["failed"]
    share = done / total if total else 1.0
    bar = ("█" * round(share * WIDTH)).ljust(WIDTH, "░")
    parts = [f"{done:,} of {total:,}"]
    if failed:
        parts.append(f"{failed:,} failed")
    if done == total:
        parts.append(job["status"])
    elif job["flags"]["paused"]:
        parts.append("paused")
    elif job["waiting_for"]:
        parts.append("waiting for a worker")
    elif rate:
        parts += [f"{rate:.3g} a second", f"{duration((total - done) / rate)} left"]
    return f"{bar} {share:4.0%}  {', '.join(parts)}"


def duration(seconds: float) -> str:
    """About how long, for people."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


class _Notebook:
    """A line of a notebook's output that can be replaced."""

    def __init__(self, display: Any):
        self._display = display
        self._handle: Any = None

    def show(self, text: str) -> None:
        content = {"text/plain": text}
        if self._handle is None:
            self._handle = self._display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)


def _notebook_display() -> _Notebook | None:
    """A notebook's way to show things, if this runs in a Jupyter kernel."""
    if "ipykernel" not in sys.modules or "IPython" not in sys.modules:
        return None
    from IPython import get_ipython  # type: ignore[import-not-found,unused-ignore]
    from IPython.display import display  # type: ignore[import-not-found,unused-ignore]

    shell = get_ipython()
    return _Notebook(display) if shell is not None and hasattr(shell, "kernel") else None
