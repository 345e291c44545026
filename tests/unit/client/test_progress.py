"""What is shown while a job runs: on a terminal, in a notebook, and where neither is there."""

from __future__ import annotations

import io
import sys
from types import ModuleType
from typing import Any

import pytest

from promptmill.progress import Progress, describe, duration


def job(done: int, failed: int = 0, **fields: Any) -> Any:
    counts = {"total": 200, "succeeded": done - failed, "failed": failed}
    counts |= {"cancelled": 0, "expired": 0, "pending": 200 - done, "running": 0}
    flags = {"paused": False, "cancel_requested": False}
    status = "completed" if done == 200 else "running"
    return {"status": status, "counts": counts, "flags": flags, "waiting_for": None} | fields


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_says_how_much_how_fast_and_what_it_waits_for() -> None:
    assert describe(job(50, 2), 2.5) == (
        "██████░░░░░░░░░░░░░░░░░░  25%  50 of 200, 2 failed, 2.5 a second, 60 s left"
    )
    assert describe(job(0, waiting_for="worker"), 0).endswith("0 of 200, waiting for a worker")
    paused = {"paused": True, "cancel_requested": False}
    assert describe(job(0, flags=paused), 0).endswith("0 of 200, paused")
    assert describe(job(200), 0).endswith("100%  200 of 200, completed")
    assert [duration(seconds) for seconds in (5, 100, 9000, 200_000)] == [
        "5 s",
        "2 min",
        "2 h",
        "2 d",
    ]


def test_on_a_terminal_one_line_is_written_over(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    progress = Progress()
    progress.job(job(0))
    progress.note("the server is away\nin many words")
    progress.job(job(200))
    progress.end()
    assert terminal.getvalue().count("\n") == 1
    shown = terminal.getvalue().rstrip("\n").split("\r")
    assert shown[2].rstrip() == "the server is away"
    assert shown[3].rstrip().endswith("200 of 200, completed")


def test_elsewhere_nothing_is_shown_unless_it_is_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    quiet, wanted = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", quiet)
    progress = Progress()
    progress.job(job(0))
    progress.end()
    assert quiet.getvalue() == ""
    progress.say("Stopped.")
    assert quiet.getvalue() == "Stopped.\n"
    monkeypatch.setattr(sys, "stderr", wanted)
    progress = Progress(True)
    for done in range(201):
        progress.job(job(done))
    progress.end()
    first, last = wanted.getvalue().splitlines()
    assert "0 of 200" in first and "200 of 200" in last


def test_in_a_notebook_one_output_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    class Handle:
        def update(self, content: dict[str, str], raw: bool) -> None:
            shown.append(content["text/plain"])

    def display(content: dict[str, str], raw: bool, display_id: bool) -> Handle:
        shown.append(content["text/plain"])
        return Handle()

    class Shell:
        kernel = object()

    notebook, displays = ModuleType("IPython"), ModuleType("IPython.display")
    vars(notebook)["get_ipython"] = Shell
    vars(displays)["display"] = display
    monkeypatch.setitem(sys.modules, "ipykernel", ModuleType("ipykernel"))
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    monkeypatch.setitem(sys.modules, "IPython.display", displays)
    progress = Progress()
    progress.job(job(0))
    progress.job(job(200))
    progress.end()
    assert ["0 of 200" in line or "200 of 200" in line for line in shown] == [True, True]
