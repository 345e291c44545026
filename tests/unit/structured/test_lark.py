"""Grammars in Lark's notation: what is honoured, and what is refused by name."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidRequest
from common.structured.grammar import Grammar, grammar_of
from common.structured.guidance import byte_guide
from common.structured.lark import COMMON, read_lark
from common.structured.lark_tokens import BadGrammar
from common.structured.output_format import OutputFormat
from tests.support.grammar_walk import byte_walker

# With an expression that all of its texts match, and the characters of the shortest one.
GRAMMARS = [
    ('start: "a" | "bc"', "a|bc", 1),
    ('start: "hello"i " " NAME\nNAME: /[A-Z][a-z]{1,3}/', "(?i:hello) [A-Z][a-z]{1,3}", 8),
    ('start: x+ "."\nx: "a".."c"', "[a-c]+\\.", 2),
    ('start: ("a" | "b") ~ 2..3', "[ab]{2,3}", 2),
    ('start: ("a" "b"){2,} ["!"]', "(ab){2,}!?", 4),
    ('start: "a" ~ 3', "aaa", 3),
    ('start: pair\npair: KEY "=" VALUE\nKEY: /[a-z]+/\nVALUE: /\\d/ /\\d/?', "[a-z]+=\\d\\d?", 3),
    ('%import common.INT\nstart: INT ("+" INT)*', "\\d+(\\+\\d+)*", 1),
    ('%import common (INT, CNAME)\nstart: CNAME "=" INT', "[_A-Za-z]\\w*=\\d+", 3),
    ("%import common.INT -> NUMBER\nstart: NUMBER", "\\d+", 1),
    ('start: "(" start ")" | "x"', "\\(*x\\)*", 1),
    ('?start: value\n!value: "x" -> ex\n    | "y" -> why\n', "[xy]", 1),
    ('start: (\n "a"\n | "b"\n)\n', "[ab]", 1),
    ('start: "a" // %llguidance {}\n# <|end|>\n', "a", 1),
    ('start: "<|end|>" "%json" "@x" "a#b//c"', re.escape("<|end|>%json@xa#b//c"), 20),
    ('start: "\\u00e9\\n\\"\\\\" /\\//i', 'é\n"\\\\/', 5),
    ('start: "\\u007f"', "\x7f", 1),
    ('start: A B?\nA: "a" | C\nB: "b"\nC: "c"', "[ac]b?", 1),
    ('start: "a" |', "a?", 0),
    ('%ignore " "\nstart: "a" "b"', "a *b *", 2),
]
REFUSED = {
    'start: "a" <|end|>': "a special token in line 1",
    "start: <[128]>": "a special token",
    "start: @other": "another grammar",
    'start: %json {"type": "object"}': "%json",
    '%llguidance {"no_forcing": true}\nstart: "a"': "%llguidance in line 1",
    'start: %regex {"substring_words": "a b"}': "%regex",
    'start: %lark { start: "a" }': "%lark",
    '%declare X\nstart: "a"': "%declare",
    '%override start: "a"': "%override",
    "start[max_tokens=5]: /a*/": "option",
    "start[temperature=0.5]: /a*/": "option",
    "start[capture]: /a*/": "option",
    'start[stop="b"]: /a*/': "option",
    "start[lazy]: /a*/": "option",
    'start[suffix="b"]: /a*/': "option",
    'start.2: "a"': "priorities",
    'start{x}: "a"': "a template",
    'start: x::1\nx: "a"': "':'",
    "start: A & B\nA: /a/\nB: /b/": "an &",
    "start: A\nA: ~/a/": "'~'",
    "start: /(?=a)/": "look-around",
    "start: /a/x": "flags 'x'",
    "start: /a/u": "flags 'u'",
    'start: "\\x41"': "escape",
    'start: "\\ud800"': "escape",
    'start: "a': "'\"'",
    "start: 'a'": '"\'"',
    "start: (": "the end",
    'start: "a"\nstart: "b"': "twice",
    'a: "a"': "no rule `start`",
    " ": "no rule `start`",
    "start: b": "unknown name",
    "%import python.X\nstart: X": "not in `common`",
    "%import common.SECRET\nstart: SECRET": "not known",
    'start: start "a"': "no text that ends",
    "start: a\na: b\nb: a": "no text that ends",
    'start: "a"{10001}': "10,000",
    'start: x{200}\nx: y{100}\ny: "a"': "10,000",
    "start: x{2}\nx: /(a{100}){51}/": "10,000",
    "start: " + "|".join(["/" + "a?x" * 900 + "/"] * 3): "2,000 repetitions",
    'start: "a"{3,2}': "larger number first",
    'start: "a"*+': "repetition of a repetition",
    "start: A\nA: " + '"a"? ' * 201: "200 parts in a row",
    "start: " + "(" * 33 + '"a"' + ")" * 33: "32 brackets",
    "start: A\nA: A": "no text that ends",
}


def grammar(text: str) -> Grammar:
    found = grammar_of(OutputFormat.model_validate({"grammar": text}))
    assert found
    return found


@pytest.mark.parametrize(("text", "matched", "least"), GRAMMARS)
def test_a_grammar_has_its_texts_and_no_others(text: str, matched: str, least: int) -> None:
    walker, rng, made = byte_walker(), random.Random(text), grammar(text)
    begun = walker.guide.matcher(made)
    for _ in range(10):
        found = walker.text(begun, rng)
        assert found is not None and re.fullmatch(matched, found), found
        assert len(found) >= least
    assert made.least == least


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_not_lark_or_too_much_is_refused_by_name(text: str) -> None:
    guide = byte_guide()
    with pytest.raises(InvalidRequest) as error:
        guide.matcher(grammar(text))
    assert error.value.code == "invalid_grammar"
    assert error.value.field == "params.output.grammar"
    assert REFUSED[text] in error.value.message, error.value.message


@pytest.mark.parametrize("name", sorted(COMMON))
def test_every_terminal_of_common_is_there(name: str) -> None:
    byte_guide().matcher(grammar(f"%import common.{name}\nstart: {name}"))


PIECES = st.sampled_from(
    [
        *('"', "/", "\\", "#", "//", "\n", " ", "(", ")", "[", "]", "{1,2}", "|", ":", "~", "*"),
        *(
            "start",
            "a",
            "A",
            '"a"',
            "/a/",
            "%json",
            "%llguidance",
            "<x>",
            "@x",
            "=",
            "->",
            "..",
            "i",
        ),
        *("%import common.INT", "start: ", "max_tokens", "{", "}", "\r", "\t", "\0", "é", "&", "?"),
    ]
)


@given(st.lists(PIECES, max_size=30).map("".join))
def test_what_is_read_never_has_an_extension_in_it(text: str) -> None:
    """Outside strings and expressions: what is written anew is all that llguidance sees."""
    try:
        source = read_lark(text).source
    except BadGrammar:
        return
    bare = re.sub(r'"(?:\\.|[^"\\])*"|/(?:\\.|[^/\\])*/', "", source)
    assert not re.search(r"[<@={&#]|%(?!ignore|import)", re.sub(r"\{\d+,\d*\}", "", bare)), source
