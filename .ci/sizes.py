"""Checks that code and prose stay short enough to read: `make lint` and the commit hook run it.

Without arguments it looks at every Python and Markdown file of the repository, with arguments at
those files only. It prints one line for each thing that is too long, and exits with 1 if there is
one. How long lines of code may be is ruff's business (`line-length` in pyproject.toml).
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

FILE = 300  # lines of a Python file
FUNCTION = 50  # lines of a function, from `def` to its end
PROSE = 120  # characters of a line of Markdown

SKIPPED = {"build", "dist", "promptmill-data"}  # and all whose name begins with a dot, but .ci


def main(arguments: list[str]) -> int:
    paths = [Path(name) for name in arguments] or sorted(files_of(Path()))
    found = [line for path in paths for line in too_long(path)]
    for line in found:
        print(line)
    return 1 if found else 0


def files_of(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        hidden = path.name.startswith(".") and path.name not in {".ci", ".github"}
        if hidden or path.name in SKIPPED:
            continue
        if path.is_dir():
            yield from files_of(path)
        elif path.suffix in {".py", ".md"}:
            yield path


def too_long(path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        yield from long_prose(path, text)
    elif path.suffix == ".py":
        yield from long_code(path, text)


def long_code(path: Path, text: str) -> Iterator[str]:
    count = len(text.splitlines())
    if count > FILE:
        yield f"{path}: {count} lines, at most {FILE}: move a part of it to a file of its own"
    for node in ast.walk(ast.parse(text, str(path))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            count = (node.end_lineno or node.lineno) - node.lineno + 1
            if count > FUNCTION:
                yield (
                    f"{path}:{node.lineno}: {node.name} has {count} lines, at most {FUNCTION}:"
                    " split it"
                )


def long_prose(path: Path, text: str) -> Iterator[str]:
    """Lines of prose over the limit. Tables, code and the targets of links may be longer."""
    fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        if fenced or line.startswith(("    ", "|")):
            continue
        length = len(re.sub(r"\]\([^)]*\)|https?://\S+", "", line))
        if length > PROSE:
            yield f"{path}:{number}: {length} characters, at most {PROSE}: break the line"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
