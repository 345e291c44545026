"""The schema in docs/redis-keys.md and the names that the Lua scripts build are the same."""

from __future__ import annotations

import re
from pathlib import Path

LUA = Path(__file__).parents[3] / "common" / "store" / "lua"
SCHEMA = Path(__file__).parents[3] / "docs" / "redis-keys.md"


def names_in_lua() -> set[str]:
    """First words (and, for jobs and tenants, parts) of every key(...) call in the scripts."""
    found = set()
    for script in LUA.rglob("*.lua"):
        for arguments in re.findall(r"\bkey\(([^()]*)\)", script.read_text()):
            words = re.findall(r"'([a-z_]+(?::[a-z]+)?)'", arguments)
            if words:
                found.add(words[0])
    return found


def documented() -> set[str]:
    rows = re.findall(r"^\| ([^|]*) \|", SCHEMA.read_text(), re.M)
    return {name for row in rows for name in re.findall(r"`([a-z_]+(?::[a-z]+)?)[`:{]", row)}


def test_every_key_the_scripts_name_is_in_the_schema() -> None:
    assert names_in_lua() - {"changes", "tokens", "wishes", "work"} <= documented()
