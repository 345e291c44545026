"""The tree in docs/architecture.md has every file and folder, and says what they themselves say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def check(folder: Path, *arguments: str) -> tuple[int, str]:
    command: list[str | Path] = [sys.executable, ROOT / ".ci" / "map.py", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_the_tree_is_that_of_the_files() -> None:
    code, said = check(ROOT, "--check")
    assert (code, said) == (0, "")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A small repository whose tree is as it should be."""
    for room in ("web", "common", "evals", "worker", "cli", "bench", "tests"):
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").write_text('"""A room."""\n')
    (tmp_path / "web" / "app.py").write_text('"""Makes the app. And more."""\n')
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "architecture.md").write_text(
        "<!-- tree: written by `make map` -->\n```text\n```\n<!-- end of the tree -->\n"
    )
    assert check(tmp_path) == (0, "")
    assert check(tmp_path, "--check") == (0, "")
    return tmp_path


def test_a_file_too_many_is_named_with_what_to_do(checkout: Path) -> None:
    (checkout / "web" / "new.py").write_text('"""Does something new."""\n')
    code, said = check(checkout, "--check")
    assert code == 1
    assert said == "web/new.py: is missing in docs/architecture.md; `make map` writes it there\n"


def test_a_file_that_is_gone_is_named_with_what_to_do(checkout: Path) -> None:
    (checkout / "web" / "app.py").unlink()
    code, said = check(checkout, "--check")
    assert code == 1
    assert said.startswith("web/app.py: is in docs/architecture.md, but there is no such file")


def test_a_file_that_says_something_else_is_named(checkout: Path) -> None:
    (checkout / "web" / "app.py").write_text('"""Makes another app. And more."""\n')
    code, said = check(checkout, "--check")
    assert code == 1
    assert said.startswith("web/app.py: begins otherwise than docs/architecture.md says")


def test_a_file_without_a_docstring_is_named(checkout: Path) -> None:
    (checkout / "web" / "mute.py").write_text("x = 1\n")
    assert check(checkout) == (
        1,
        "web/mute.py: say in the first sentence of its docstring what it is for\n",
    )
