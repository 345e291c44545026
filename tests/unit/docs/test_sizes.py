"""The limits of length that `make lint` checks (.ci/sizes.py)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHECK = Path(__file__).parents[3] / ".ci" / "sizes.py"
LONG = "word " * 30


def found(path: Path, text: str) -> str:
    path.write_text(text)
    done = subprocess.run([sys.executable, CHECK, path], capture_output=True, text=True)
    assert done.returncode == (1 if done.stdout else 0), done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.py", "x = 1\n" * 301, "a.py: 301 lines, at most 300"),
        ("a.py", "def f():\n" + "    x = 1\n" * 50, "a.py:1: f has 51 lines, at most 50"),
        ("a.py", "class A:\n  async def f(self):\n" + "    x = 1\n" * 50, "a.py:2: f has 51"),
        ("a.md", "short\n" + LONG + "\n", "a.md:2: 150 characters, at most 120"),
        ("a.md", "```\n" + LONG + "\n```\n" + LONG + "\n", "a.md:4: 150 characters"),
    ],
)
def test_what_is_too_long_is_named_with_its_line(
    tmp_path: Path, name: str, text: str, said: str
) -> None:
    assert said in found(tmp_path / name, text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.py", "x = 1\n" * 300),
        ("a.py", "def f():\n" + "    x = 1\n" * 49),
        ("a.py", "class A:\n" + "    x = 1\n" * 60),
        ("a.md", f"| {LONG} |\n\n    {LONG}\n\n```\n{LONG}\n```\n"),
        ("a.md", f"See [this](https://example.org/{'x' * 120}).\n"),
    ],
)
def test_tables_code_and_links_may_be_longer_and_all_else_is_within_the_limits(
    tmp_path: Path, name: str, text: str
) -> None:
    assert found(tmp_path / name, text) == ""
