"""The schema in common/store/keys.py and the names the Lua scripts build are the same."""

from __future__ import annotations

import re
from importlib.resources import files

from common.store import keys


def names_in_lua() -> set[str]:
    """First words (and, for jobs and tenants, parts) of every key(...) call in the scripts."""
    found = set()
    for script in (files("common.store") / "lua").iterdir():
        for arguments in re.findall(r"\bkey\(([^()]*)\)", script.read_text()):
            words = re.findall(r"'([a-z_]+(?::[a-z]+)?)'", arguments)
            if words:
                found.add(words[0])
    return found


def documented() -> set[str]:
    lines = re.findall(r"^    ([a-z_]+(?::[a-z]+)?)(?:[:,{ ]|$)", keys.__doc__ or "", re.M)
    return set(lines)


def test_every_key_the_scripts_name_is_in_the_schema() -> None:
    assert names_in_lua() - {"changes", "tokens", "wishes", "work"} <= documented()
