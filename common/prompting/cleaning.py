"""Cleans texts: repairs encodings, normalizes Unicode, and takes out markup, control characters and
superfluous white space.

Texts may be long and hostile. They are worked on in short pieces, so that no step takes more time
than the text's length allows, and other requests of the process run in between.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence

from common.cooperate import Steps
from common.prompting.markup import without_markup

# In this order, however they are listed.
ORDER = ("encoding", "unicode", "html", "controls", "whitespace")

PIECE = 500  # characters
MARKED_PIECE = 256  # of texts with marks: to sort them takes the square of a run's length
LONG_PIECE = 2**16  # of work that takes a tenth of a microsecond for each
# Pieces of a text in which some characters are right and others not: ftfy takes up to 35 µs for
# each of their characters, twenty times as much as for others.
MOST_MIXED = 64
MOST_REPAIRED = 2**16  # characters of an item: those of the worst kind take up to 6 µs each
# Steps of ftfy that make Windows-1252 of Latin-1.
NOT_MISREAD = frozenset(
    {("encode", "latin-1"), ("decode", "windows-1252"), ("transcode", "fix_c1_controls")}
)


def clean(text: str, steps: Sequence[str], repair: Repair | None = None) -> tuple[str, list[str]]:
    """The text after these steps, and those that changed it. Texts of one item share its
    `repair`."""
    changed = []
    for name in ORDER:
        if name in steps:
            cleaner = (repair or Repair()).text if name == "encoding" else CLEANERS[name]
            before, text = text, cleaner(text)
            if text != before:
                changed.append(name)
    return text, changed


def _pieces(text: str, size: int, cut: Callable[[str, int, int], int]) -> Iterator[str]:
    """The text in pieces of at most `size`. `cut` finds where one ends, between two places."""
    steps = Steps()
    at = 0
    while len(text) - at > size:
        end = cut(text, at + size // 2, at + size)
        yield text[at:end]
        at = end
        steps.step()
    yield text[at:]


# Neither ASCII nor a control character: one of these shows UTF-8's first byte in any encoding.
_MAY_BEGIN = re.compile(r"[^\x00-\x9f]")


class Repair:
    """Repairs mojibake in the texts of one item: UTF-8 that was read with another encoding. Only
    the first `MOST_REPAIRED` characters of texts that are not ASCII are looked at."""

    def __init__(self) -> None:
        self._mixed = 0
        self._left = MOST_REPAIRED

    def text(self, text: str) -> str:
        if self._left <= 0 or not _MAY_BEGIN.search(text):
            return text
        return "".join(map(self._piece, _pieces(text, PIECE, _before_word)))

    def _piece(self, text: str) -> str:
        """The piece repaired; one that is right and wrong in parts only as long as there were few
        of them."""
        if self._left <= 0 or not _MAY_BEGIN.search(text):
            return text
        self._left -= len(text)
        import ftfy.badness  # here, because most jobs do without

        found = ftfy.fix_encoding_and_explain(
            text, ftfy.TextFixerConfig(decode_inconsistent_utf8=False)
        )
        if self._mixed < MOST_MIXED and ftfy.badness.is_bad(found.text):
            self._mixed += 1
            found = ftfy.fix_encoding_and_explain(text)
        # Control characters that stand for those of Windows-1252 are no misread UTF-8: U+0085 is an
        # end of a line.
        is_misread = any(tuple(step) not in NOT_MISREAD for step in found.explanation or ())
        return str(found.text) if is_misread else text


# UTF-8's first bytes as Latin-1 shows them: a character that was misread begins with one of these.
_BEGINS_WORD = re.compile(r"[\n A-Za-z0-9]|[\u00c2-\u00f4]")


def _before_word(text: str, least: int, most: int) -> int:
    """Where neither a word nor a misread character is parted: after a line, else before a space,
    an ASCII letter, or what begins a character."""
    line = text.rfind("\n", least, most)
    if line >= 0:
        return line + 1
    space = text.rfind(" ", least, most)
    if space >= 0:
        # A misread character may end with a no-break space that became a space.
        match = _BEGINS_WORD.match(text, space + 1)
        return space + 1 if match else space
    return next((at for at in range(most, least, -1) if _BEGINS_WORD.match(text, at)), most)


def _unicode(text: str) -> str:
    """Normalization form C."""
    if text.isascii():
        return text
    pieces = _pieces(text, MARKED_PIECE, _before_base)
    return "".join(unicodedata.normalize("NFC", piece) for piece in pieces)


def _before_base(text: str, least: int, most: int) -> int:
    """Before a character that no character before it is composed with; anywhere in a run of a
    hundred marks, which is no text."""
    return next((at for at in range(most, least, -1) if _is_base(text[at])), most)


def _is_base(character: str) -> bool:
    return (
        unicodedata.category(character)[0] != "M"
        and not "\u1160" <= character <= "\u11ff"  # vowels and ends of Hangul
        and not "\U00016d63" <= character <= "\U00016d6a"  # vowels of Kirat Rai
    )


# Spaces without width, direction marks, soft hyphens and what else is never seen. Not among them:
# marks that join letters or numbers of some scripts, and are seen by that.
_INVISIBLE = (
    "\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f"  # control characters, but no ends of lines, no tab
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
)
_TAGS = "\U000e0000-\U000e007f"  # of flags, and of texts that nobody sees
_CONTROLS = re.compile(
    "(?P<flag>\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{2,8}\U000e007f)"
    "|(?P<end>[\x0b\x0c\x85])|(?P<joiner>[\u200c\u200d]+)"
    f"|[{_INVISIBLE}{_TAGS}]+"
)
# Of what a joiner is kept behind: letters without case, as of Arabic and Indian scripts, marks, and
# emoji with their skin tones.
_JOINED = frozenset({"Lo", "Lm", "Mn", "Mc", "Me", "So", "Sk"})


def _controls(text: str) -> str:
    steps = Steps()

    def kept(match: re.Match[str]) -> str:
        steps.step()
        if match["flag"]:
            return match["flag"]
        if match["end"]:
            return "\n"
        if match["joiner"] and match.start() and _joins(text, match):
            return match["joiner"][0]
        return ""

    return _CONTROLS.sub(kept, text)


def _joins(text: str, joiner: re.Match[str]) -> bool:
    return unicodedata.category(text[joiner.start() - 1]) in _JOINED


_ENDS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_SPACES = re.compile(r"[^\S\n]+")
_AROUND_LINES = re.compile(r" ?\n ?")
_BLANK_LINES = re.compile(r"\n{3,}")


def _whitespace(text: str) -> str:
    """One space for several, and none around lines; one blank line for several, and none at the
    start or end."""
    found: list[str] = []
    rest, at, steps = "", 0, Steps()
    while at < len(text):
        end = at + LONG_PIECE
        if text[end - 1 : end + 1] == "\r\n":
            end += 1
        piece = _collapsed(rest + text[at:end])
        kept = piece.rstrip()
        # The space at the end belongs to that at the start of the next piece.
        rest, at = piece[len(kept) :], end
        found.append(kept)
        steps.step()
    return "".join(found).strip()


def _collapsed(text: str) -> str:
    text = _SPACES.sub(" ", _ENDS.sub("\n", text))
    return _BLANK_LINES.sub("\n\n", _AROUND_LINES.sub("\n", text))


CLEANERS: dict[str, Callable[[str], str]] = {
    "unicode": _unicode,
    "html": without_markup,
    "controls": _controls,
    "whitespace": _whitespace,
}
