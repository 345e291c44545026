"""The Lua scripts: every move of more than one key is one of these, so it happens whole or not at all.

Each file under `lua/` opens with its arguments and its answer; `lua/lib.lua` is put before each.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import Any

import redis

# Scripts that give memory back or keep a promise already made must run on a full server too.
ALLOW_OOM = {
    "exchange",
    "checkpoint",
    "edit",
    "heartbeat",
    "release",
    "cancel",
    "delete",
    "tick",
    "claim_hooks",
    "record_hook",
}
NAMES = ("attach", "append", *sorted(ALLOW_OOM))


def source(name: str) -> str:
    """The full text of a script as Redis compiles it."""
    folder = files("common") / "lua"
    flags = " flags=allow-oom" if name in ALLOW_OOM else ""
    return f"#!lua{flags}\n{(folder / 'lib.lua').read_text()}\n{(folder / f'{name}.lua').read_text()}"


class Scripts:
    """The scripts bound to one client: `scripts.cancel(job_id)` runs `lua/cancel.lua`."""

    def __init__(self, client: redis.Redis):
        self._bound = {name: client.register_script(source(name)) for name in NAMES}

    def __getattr__(self, name: str) -> Callable[..., Any]:
        script = self._bound[name]
        return lambda *args: script(keys=(), args=args)
