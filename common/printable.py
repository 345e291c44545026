"""Escapes control characters in the text of users, models and other programs, for terminals and
logs.

Characters that move the cursor, set a colour or a title, begin a line or change the direction of
writing are shown as JSON escapes (`\\u001b`). All other text stays as it is, in every script.
"""

from __future__ import annotations

import re

# C0, DEL and C1 (U+009B is the same as ESC [), line separators, marks that change the direction of
# writing (U+202A-E, U+2066-9), and lone surrogates, which cannot be encoded.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def printable(text: str, keep: str = "") -> str:
    """`text` with its control characters escaped, except those in `keep`."""
    return CONTROL.sub(lambda found: found[0] if found[0] in keep else _escape(found[0]), text)


def _escape(character: str) -> str:
    return SHORT.get(character) or f"\\u{ord(character):04x}"
