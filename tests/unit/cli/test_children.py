"""Child processes: restarted when they crash, ended in order, and none is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli import children as module
from cli.children import Child, Children
from cli.valkey import is_running
from tests.support.processes import spawn
from tests.support.waiting import wait_until

SLEEP = "import time; time.sleep(60)"


def part(name: str, code: str, log: Path | None = None, limit: float = 5.0) -> Child:
    child = Child(name, [], dict(os.environ), log=log, limit=limit)
    child._command = [sys.executable, "-c", code]  # any program will do
    return child


def wait_until_dead(child: Child) -> None:
    deadline = time.monotonic() + 10
    while child.exit_code is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_crashed_part_is_started_again_after_a_pause_that_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    now = [1000.0]
    monkeypatch.setattr("cli.children.time.monotonic", lambda: now[0])
    child = part("web", "print('my last words'); raise SystemExit(3)", tmp_path / "web.log")
    pauses = []
    for _ in range(3):
        child.start()
        assert child._process
        child._process.wait(10)
        assert not child.tend(said.append)
        assert child._retry_at
        pauses.append(child._retry_at - now[0])
        now[0] += pauses[-1]
    assert pauses == [1.0, 2.0, 4.0]
    assert "exit code 3" in said[0]
    assert "my last words" in said[1]
    assert child.tend(said.append)
    child.kill()


def test_a_running_part_is_left_alone() -> None:
    child = part("web", SLEEP)
    child.start()
    assert not child.tend(pytest.fail)
    child.kill()


def test_stages_end_in_their_order(tmp_path: Path) -> None:
    note = (
        "import os, signal, sys, time\n"
        "def end(*_):\n"
        "    open({file!r}, 'a').write({name!r} + ' ')\n"
        "    sys.exit()\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "open({file!r} + '.up', 'a').write('x')\n"
        "time.sleep(60)\n"
    )
    file = tmp_path / "order"
    names = [["web"], ["webhooks", "webhooks"], ["worker"]]
    pids: list[list[int]] = []
    stages = [
        [part(name, note.format(file=str(file), name=name)) for name in stage] for stage in names
    ]
    parts = Children(stages, print, pids.append)
    parts.start()
    up = Path(f"{file}.up")
    deadline = time.monotonic() + 20
    while not (up.exists() and len(up.read_text()) == 4):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    parts.stop()
    assert file.read_text().split() == ["web", "webhooks", "webhooks", "worker"]
    assert len(pids[0]) == 4
    assert pids[-1] == []


@pytest.mark.parametrize(("again", "ended"), [(signal.SIGTERM, True), (signal.SIGINT, False)])
def test_of_further_signals_only_ctrl_c_kills_parts_that_end(
    tmp_path: Path, again: signal.Signals, ended: bool
) -> None:
    file = tmp_path / "said"
    child_code = (
        "import signal, sys, time\n"
        "def end(*_):\n"
        "    print('ending', flush=True)\n"
        "    time.sleep(2)\n"
        "    print('ended', flush=True)\n"
        "    sys.exit()\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print('up', flush=True)\n"
        "time.sleep(60)\n"
    )
    code = (
        "import os, sys, time\n"
        "from cli.children import Child, Children, end_on_signals\n"
        "child = Child('worker', [], dict(os.environ))\n"
        f"child._command = [sys.executable, '-c', {child_code!r}]\n"
        "parts = Children([[child]], print)\n"
        "end_on_signals()\n"
        "try:\n"
        "    parts.start()\n"
        "    time.sleep(60)\n"
        "except KeyboardInterrupt:\n"
        "    parts.stop()\n"
    )
    with file.open("wb") as said:
        process = spawn([sys.executable, "-c", code], stdout=said)
    for word, number in (("up", signal.SIGTERM), ("ending", again)):
        wait_until(lambda word=word: word in file.read_text())  # type: ignore[misc]
        process.send_signal(number)
    assert process.wait(20) == 0
    assert ("ended" in file.read_text()) == ended


def test_a_part_that_will_not_end_is_killed_with_all_it_started(tmp_path: Path) -> None:
    file = tmp_path / "grandchild"
    code = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"grandchild = subprocess.Popen([sys.executable, '-c', {SLEEP!r}])\n"
        f"open({str(file)!r}, 'w').write(str(grandchild.pid))\n"
        "time.sleep(60)\n"
    )
    child = part("worker", code, limit=0.2)
    child.start()
    deadline = time.monotonic() + 10
    while not file.exists() or not file.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.terminate()
    child.wait()
    assert child.exit_code == -signal.SIGKILL
    assert _ends(int(file.read_text()))


def test_a_part_ends_within_seconds_when_its_parent_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    part_code = (
        "from cli.children import follow_parent\n"
        "import os, time\n"
        "follow_parent()\n"
        f"open({str(file)!r}, 'w').write(str(os.getpid()))\n"
        "time.sleep(60)\n"
    )
    parent_code = (
        "import os, subprocess, sys, time\n"
        "env = {**os.environ, 'PROMPTMILL_PARENT': str(os.getpid())}\n"
        f"subprocess.Popen([sys.executable, '-c', {part_code!r}], env=env)\n"
        f"while not os.path.exists({str(file)!r}) or not open({str(file)!r}).read(): "
        "time.sleep(0.01)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", parent_code], timeout=20, check=False)
    assert _ends(int(file.read_text()))


def test_a_log_that_grew_too_large_is_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOG_LIMIT", 10)
    log = tmp_path / "web.log"
    log.write_text("long enough to be set aside")
    child = part("web", "print('new')", log)
    child.start()
    wait_until_dead(child)
    assert log.read_text() == "new\n"
    assert (tmp_path / "web.old.log").exists()


def _ends(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not is_running(pid)
