"""Cuts texts into the units that are compared: words, and characters where words have no spaces.

Han, kana, Thai, Lao, Khmer and Burmese letters are a unit each, with their marks; Hangul and all
other scripts are cut at what is neither letter, mark nor digit.
"""

from __future__ import annotations

import re
import string

from evals.scripts import (
    pieces_pattern,
    punctuation_pattern,
    units_pattern,
    unspaced_pattern,
    words_pattern,
)

_ASCII_WORD = re.compile(r"[a-z0-9]+")
_ARTICLE = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def words(text: str) -> list[str]:
    """Lower-cased words: on ASCII text those of rouge-score, without stemming."""
    text = text.lower()
    if text.isascii():
        return _ASCII_WORD.findall(text)
    pattern = units_pattern() if unspaced_pattern().search(text) else words_pattern()
    return pattern.findall(text)


def answer_words(text: str) -> list[str]:
    """The words of an answer as SQuAD normalises it: lower case, no punctuation, no articles.

    Where nothing would be left, articles stay (a class may be called `A`), and then punctuation
    (`+`): only white space has no words.
    """
    text = text.lower()
    if text.isascii():
        bare = text.translate(_NO_PUNCTUATION)
    else:
        bare = punctuation_pattern().sub("", text)
    bare = _ARTICLE.sub(" ", bare).strip() or bare.strip() or text
    return pieces_pattern().findall(bare) if unspaced_pattern().search(bare) else bare.split()
