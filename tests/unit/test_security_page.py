"""docs/security.md names a test for each threat, and each of these tests exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "security.md"
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for table in re.findall(r"\| threat \|.*?\n\n", PAGE.read_text() + "\n", re.S)
    for line in table.strip().splitlines()[2:]
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_every_threat_has_a_bound_and_a_test_that_exists(row: list[str]) -> None:
    threat, bound, shown = row
    assert threat and bound
    named = re.findall(r"`([^`]+)`", shown)
    assert named, f"no test shows what stops {threat!r}"
    for name in named:
        file, _, function = name.partition("::")
        tree = ast.parse((TESTS / file).read_text())
        functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert function in functions, name
