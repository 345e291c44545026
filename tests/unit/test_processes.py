"""What tests start ends with them: children that Ctrl-C stops, and no survivors of a run that
failed or was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from tests.support.processes import ROOT
from tests.support.waiting import wait_until

SLEEPER = [sys.executable, "-c", "import time; print(flush=True); time.sleep(600)"]

# Leaves a child, and a grandchild in a session of its own whose parent is gone. Their ids go to a
# file.
MESSY = f"""
import subprocess, sys, time
from pathlib import Path
from tests.support.processes import spawn

def test_it_fails_and_cleans_nothing_up(redis_url):
    child = spawn({SLEEPER!r})
    orphan = "import subprocess;" \
        "print(subprocess.Popen({SLEEPER!r}, start_new_session=True, stdout=-3, stderr=-3).pid)"
    command = [sys.executable, "-c", orphan]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    file = Path(__file__).with_name("pids")
    file.with_suffix(".new").write_text(f"{{child.pid}} {{found.stdout}}")
    file.with_suffix(".new").rename(file)
    HOW_IT_GOES_ON
"""


def start_messy_run(folder: Path, how_it_goes_on: str) -> subprocess.Popen[bytes]:
    (folder / "test_messy.py").write_text(MESSY.replace("HOW_IT_GOES_ON", how_it_goes_on))
    plugins = ["-p", "tests.conftest", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", "-q", *plugins, str(folder)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def left_by(folder: Path) -> list[psutil.Process]:
    """The child and the orphan, those that still run."""
    pids = [int(pid) for pid in (folder / "pids").read_text().split()]
    assert len(pids) == 2
    return [psutil.Process(pid) for pid in pids if runs(pid)]


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_failing_test_leaves_no_process_behind(tmp_path: Path) -> None:
    run = start_messy_run(tmp_path, "assert False")
    said = run.communicate(timeout=60)[0].decode()
    assert run.returncode == 1 and "1 failed" in said, said
    assert left_by(tmp_path) == []
    assert said.count("time.sleep(600)") >= 2, "what had to be killed is told"


def test_a_killed_run_leaves_no_child_behind(tmp_path: Path) -> None:
    run = start_messy_run(tmp_path, "time.sleep(600)")
    try:
        wait_until((tmp_path / "pids").exists)
        child, orphan = left_by(tmp_path)
        run.kill()
        wait_until(lambda: not runs(child.pid))
        assert runs(orphan.pid), "which our own parts do not do: they end when their parent is gone"
        orphan.kill()
    finally:
        run.kill()
        run.communicate()


def test_ctrl_c_stops_children_of_a_run_in_the_background() -> None:
    code = (
        "import signal; from tests.support.processes import spawn\n"
        f"child = spawn({SLEEPER!r}, stdout=-1)\n"
        "child.stdout.readline()\n"
        "child.send_signal(signal.SIGINT)\n"
        "child.wait(20)\n"
        "print(child.returncode)"
    )
    background = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, "-c", code]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        background, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.strip() == str(-signal.SIGINT), done.stderr
