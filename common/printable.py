"""Makes the text of users, models and other programs harmless to terminals and to logs that are
read line by line.

What moves a cursor, sets a colour or a title, begins a line or turns the direction of writing is
shown as the escape that JSON has for it (`\\u001b`). All other text stays as it is, in every
script.
"""

from __future__ import annotations

import re

# C0, DEL and C1 (U+009B begins a command as ESC [ does), line separators, what turns the direction
# of writing (U+202A-E, U+2066-9), and lone surrogates, which no terminal takes.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def printable(text: str, keep: str = "") -> str:
    """`text` with its control characters as escapes, but for those in `keep`."""
    return CONTROL.sub(lambda found: found[0] if found[0] in keep else _escape(found[0]), text)


def _escape(character: str) -> str:
    return SHORT.get(character) or f"\\u{ord(character):04x}"
