"""The setting PROMPTMILL_ADAPTERS: which adapters a worker serves beside its model."""

from __future__ import annotations

import re
from pathlib import Path

from common.ids import MODEL

MOST = 64  # adapters of a worker
NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}")


def parse_adapters(text: str) -> dict[str, Path]:
    """`NAME=PATH,…` as a mapping; a path has no comma. An empty text has none.

    Raises:
        ValueError: there is no entry, or one is no pair, a name has another form or is there twice,
        a path is of several lines, or there are too many.
    """
    found: dict[str, Path] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        name, equals, path = (part.strip() for part in entry.partition("="))
        if not (equals and path):
            raise ValueError(f"{entry[:80]!r} must be NAME=PATH")
        if not NAME.fullmatch(name):
            raise ValueError(
                f"the name {name[:80]!r} must have 1 to 64 letters, digits, `.`, `_` and `-`, and "
                "begin with a letter or digit"
            )
        if not path.isprintable():
            raise ValueError(f"{entry[:80]!r} has a line break or another control character")
        if name in found:
            raise ValueError(f"the adapter {name!r} is there twice")
        found[name] = Path(path)
    if text and not found:
        raise ValueError("it names no adapter; give NAME=PATH, or leave it out")
    if len(found) > MOST:
        raise ValueError(f"{len(found)} adapters, a worker serves {MOST} at most")
    return found


def adapter_model(base: str, adapter: str) -> str:
    """The name that jobs use for a model with an adapter.

    Raises:
        ValueError: it is too long for a model's name.
    """
    name = f"{base}:{adapter}"
    if not MODEL.fullmatch(name):
        raise ValueError(f"the model's name {name[:80]!r}… is too long, give it a shorter one")
    return name
