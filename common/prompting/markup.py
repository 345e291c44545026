"""Takes HTML out of texts: tags, comments, scripts and styles; entities become their characters.

What only looks like a tag stays: `a < b`, `x <3`. Its time grows with the text's length only.
"""

from __future__ import annotations

import html
import re

from common.cooperate import Steps

# No tag has a `<` inside, not even in quotes: so a search ends at the next one, and looking for the
# ends of a million tags that have none takes no longer than reading the text.
_TAG = re.compile(
    r"""<(?P<close>/?)(?P<name>[A-Za-z][A-Za-z0-9:-]*+)(?:\s(?:[^<>"']|"[^<"]*"|'[^<']*')*+)?/?>"""
    r"|<(?P<declared>[!?][A-Za-z\[][^<>]*+)>"
    r"|(?P<comment><!--)"
)
_HIDDEN = frozenset({"script", "style"})  # of which the content is not text either
# An end of a line stands for each, so that words of two paragraphs do not become one.
_BLOCKS = frozenset(
    (
        *("address", "article", "aside", "blockquote", "br", "dd", "div", "dl", "dt", "fieldset"),
        *("figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header"),
        *("hr", "li", "main", "nav", "ol", "option", "p", "pre", "section", "table", "tbody"),
        *("tfoot", "thead", "title", "tr", "ul"),
    )
)
_CELLS = frozenset({"td", "th"})
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")


def without_markup(text: str) -> str:
    """The text that a reader of the page sees, about. Entities are read once, after the tags: what
    they stand for is text, `<` too."""
    if "<" in text:
        text = "".join(_Stripper(text).texts())
    return _entities(text) if "&" in text else text


def _entities(text: str) -> str:
    steps = Steps()

    def character(match: re.Match[str]) -> str:
        steps.step()
        return html.unescape(match[0])

    return _ENTITY.sub(character, text)


class _Stripper:
    """The texts between the tags of one text."""

    def __init__(self, text: str):
        self._text = text
        # What does not end from some place on ends from no later place either.
        self._endless: set[str] = set()

    def texts(self) -> list[str]:
        found, at, steps = [], 0, Steps()
        while match := _TAG.search(self._text, at):
            steps.step()
            end, instead = self._end_of(match)
            found += [self._text[at : match.start()], instead]
            at = end
        return [*found, self._text[at:]]

    def _end_of(self, tag: re.Match[str]) -> tuple[int, str]:
        """Where text goes on behind a tag, and what stands in its place."""
        if tag["comment"]:
            end = self._after(re.compile("-->"), tag.end())
            return (tag.end(), tag[0]) if end is None else (end, "")
        name = (tag["name"] or "").lower()
        if name in _HIDDEN and not tag["close"]:
            end = self._after(_CLOSING[name], tag.end())
            return (tag.end() if end is None else end), ""
        if name in _BLOCKS:
            return tag.end(), "\n"
        return tag.end(), " " if name in _CELLS else ""

    def _after(self, end: re.Pattern[str], at: int) -> int | None:
        """The place after the next `end`; None if there is none."""
        if end.pattern in self._endless:
            return None
        match = end.search(self._text, at)
        if match is None:
            self._endless.add(end.pattern)
        return match and match.end()


_CLOSING = {name: re.compile(rf"</{name}\s*>", re.IGNORECASE) for name in _HIDDEN}
