"""Cuts texts into BLEU's words as sacrebleu's tokenizers `13a`, `zh`, `char` and `none` do."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable

from evals.scripts import BURMESE, HAN, KANA, KHMER, LAO, THAI, within

# What is a word of its own: ASCII's punctuation, but for apostrophe, comma, hyphen and full stop.
_SYMBOL = re.compile(r"([!-&(-+/:-@\[-`{-~])")
_STOP_AFTER_OTHER = re.compile(r"([^0-9])([.,])")
_STOP_BEFORE_OTHER = re.compile(r"([.,])([^0-9])")
_DASH_AFTER_DIGIT = re.compile(r"([0-9])(-)")
_ENTITIES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))

# What `zh` takes for Chinese. From U+2001 on it has punctuation, arrows and signs as well: the
# tokenizer means other characters there, but this is how it counts, and scores are compared.
_CHINESE = (
    *((0x2001, 0x2A6D), (0x2E80, 0x2FDF), (0x2FF0, 0x303F), (0x3100, 0x312F), (0x31A0, 0x31BF)),
    *((0x31C0, 0x31EF), (0x3200, 0x33FF), (0x3400, 0x4DB5), (0x4E00, 0x9FBB), (0xF900, 0xFA2D)),
    *((0xFA30, 0xFA6A), (0xFA70, 0xFAD9), (0xFE10, 0xFE1F), (0xFE30, 0xFE4F), (0xFF00, 0xFFEF)),
)
_CHINESE_CHARACTER = re.compile(f"([{within(_CHINESE)}])")

_SAMPLE = 1000  # characters of a reference that tell its script
_HAN = re.compile(f"[{within(HAN)}]")
_KANA = re.compile(f"[{within(KANA)}]")
_OTHER_UNSPACED = re.compile(f"[{within((*THAI, *LAO, *KHMER, *BURMESE))}]")


def _western(line: str) -> list[str]:
    line = " ".join(_SYMBOL.split(line))
    line = _apart(_STOP_AFTER_OTHER, line, 2)
    line = _apart(_STOP_BEFORE_OTHER, line, 1)
    return _apart(_DASH_AFTER_DIGIT, line, 2).split()


def _apart(pattern: re.Pattern[str], line: str, group: int) -> str:
    """Puts spaces around this one of two groups, wherever the pattern is found."""
    parts = pattern.split(line)
    parts[group::3] = [f" {part} " for part in parts[group::3]]
    return "".join(parts)


def _words_13a(text: str) -> list[str]:
    line = text.rstrip().replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    if "&" in line:
        for entity, character in _ENTITIES:
            line = line.replace(entity, character)
    return _western(f" {line} ")


def _words_zh(text: str) -> list[str]:
    return _western(" ".join(_CHINESE_CHARACTER.split(text.strip())))


def _words_char(text: str) -> list[str]:
    return list("".join(text.split()))


TOKENIZERS: dict[str, Callable[[str], list[str]]] = {
    "13a": _words_13a,
    "zh": _words_zh,
    "char": _words_char,
    "none": str.split,
}


def tokenizer_for(text: str) -> str:
    """Which tokenizer suits a text: `zh` for Chinese; `char` for Japanese, Thai, Lao, Khmer and
    Burmese; else `13a`."""
    if text.isascii():
        return "13a"
    text = text[:_SAMPLE]
    letters = sum(map(str.isalpha, text))
    han, kana = len(_HAN.findall(text)), len(_KANA.findall(text))
    others = len(_OTHER_UNSPACED.findall(text))
    if 2 * (han + kana) > letters:
        return "char" if kana else "zh"
    return "char" if 2 * others > letters else "13a"


def choose_tokenizer(references: Iterable[str]) -> str:
    """The one that suits most references: an evaluation has one tokenizer. `13a` without any."""
    found = Counter(tokenizer_for(text) for text in references if text.strip())
    return max(TOKENIZERS, key=lambda name: found[name])
