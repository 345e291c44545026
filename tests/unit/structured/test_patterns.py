"""Regular expressions: what they match here they match in Python's dialect and in another
validator's; the rest is refused by name."""

from __future__ import annotations

import gc
import json
import random
import re
import time
from contextlib import suppress

import jsonschema_rs
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from common.errors import InvalidRequest
from common.structured.grammar import Grammar, grammar_of, json_grammar
from common.structured.guidance import Guide, byte_guide
from common.structured.output_format import OutputFormat
from common.structured.patterns import MOST_REPEATED, BadPattern, read_pattern
from tests.support.grammar_walk import byte_walker

EVERYWHERE = (
    *("abc", "a|b|", "(ab?c*)+", "a{3}", "a{2,4}b{0,1}", "a{2,}", "[abc]", "[^abc]", "[a-c0-3]"),
    *("\\d{2}\\D", "\\w\\W", "\\s\\S", "[\\d\\s]", "[^\\d\\w\\s]", "[\\D]", "[^\\S]", "[^\\W]"),
    *("(?:x|yz){2}", "\\.\\*\\\\\\/\\-", "\\t\\n\\r\\f\\v", "\\x41\\u00e9", "[.*+?]", "[\\]\\[-]"),
    *("é😀", "~&#", "[~&#]", "a.c", "(a|ab)(c|bcd)", "a+?b*?", "((a{1,3}b){1,3}c){1,3}", "[a-]"),
    *("x{", "}", "]", "a{b}", "(?P<year>\\d{4})", "[\\b]", "\\[\\]"),
)
IN_PATTERNS = ("^a", "a$", "^a$|b", "^(a|b)c$", "\\p{Lu}\\p{Ll}", "[\\p{L}]", "[^\\P{L}]", "\\cA")
IN_REGEX = ("^abc$", "(?i)aBc", "(?s).\\n.", "(?is)k.", "(.|\\n)*")
REFUSED = {
    "(?=a)": "look-around",
    "(?!a)": "look-around",
    "(?<=a)b": "look-around",
    "(?<!a)b": "look-around",
    "a\\b": "look-around",
    "(a)\\1": "back-reference",
    "(?P<a>b)(?P=a)": "(?P",
    "\\k<a>": "back-reference",
    "(?>a)": "(?>",
    "(?#a)": "(?#",
    "a(?i)b": "(?i",
    "(?x)a": "(?x",
    "a*+": "repeats a repetition",
    "a**": "repeats a repetition",
    "a{2}{3}": "repeats a repetition",
    "*a": "nothing before it",
    "(": "without its )",
    ")": "without its (",
    "[a": "without its ]",
    "[a-z": "without its ]",
    "a\\": "backslash",
    "\\q": "not known",
    "\\ud800": "no character",
    "\\u{110000}": "no character",
    "a{3,2}": "larger number first",
    "a{,3}": "{0,n}",
    "a$b": "not at the end",
    "a^b": "not at the beginning",
    "(^a)": "inside a group",
    "^*": "anchor",
    "[a-\\d]": "class at its end",
    "a{10001}": "10,000",
    "a?" * 1001: "1,000 repetitions",
    "(a{1,500}){1,500}": "250,000",
    "((a{100}){100}){2}": "20,000",
    "(" * 33 + ")" * 33: "32 groups",
    "a?" * 201: "200 parts in a row",
    "(a|bc)?" * 400: "200 parts in a row",
    "x" + ("(" + "a?" * 50 + ")") * 5: "200 parts in a row",
    "[[:alpha:]]": "[:alpha:] in a class",
    "[^[:digit:]x]": "[:digit:] in a class",
    "[a-z&&b]": "&& in a class",
    "[a||b]": "|| in a class",
    "[a~~b]": "~~ in a class",
    "[a--b]": "the larger first",
    "[z-a]": "the larger first",
}


def regex(text: str) -> Grammar:
    found = grammar_of(OutputFormat.model_validate({"regex": text}))
    assert found
    return found


@pytest.mark.parametrize("text", [*EVERYWHERE, *IN_REGEX])
def test_a_text_of_an_expression_matches_it_for_python(text: str) -> None:
    walker, rng, made = byte_walker(), random.Random(text), regex(text)
    begun = walker.guide.matcher(made)
    found = [walker.text(begun, rng) for _ in range(25)]
    for each in filter(None, found):
        assert re.fullmatch(text, each), each
        assert len(each) >= made.least
    assert any(each is not None for each in found)


# Expressions with Unicode rules, as the other validator has them, know no such braces and escapes.
@pytest.mark.parametrize("text", sorted({*EVERYWHERE, *IN_PATTERNS} - {"x{", "a{b}", "[\\b]"}))
def test_a_string_with_a_pattern_is_valid_for_another_validator(text: str) -> None:
    schema = {"type": "string", "pattern": text, "maxLength": 40}
    validator = jsonschema_rs.validator_for({"type": "string", "pattern": text})
    walker, rng, made = byte_walker(), random.Random(text), json_grammar(schema, "schema")
    begun = walker.guide.matcher(made)
    for _ in range(25):
        if found := walker.text(begun, rng):
            validator.validate(json.loads(found))
            assert len(found) >= made.least


@pytest.mark.parametrize("text", REFUSED)
def test_what_cannot_be_honoured_is_refused_by_name(text: str) -> None:
    for anywhere in (False, True):
        with pytest.raises(BadPattern) as error:
            read_pattern(text, anywhere=anywhere)
        assert REFUSED[text] in str(error.value), error.value


@pytest.mark.parametrize(
    ("text", "said"), [("[]a]", "] first"), ("\\cA", "\\c"), ("[^]a]", "] first")]
)
def test_what_other_dialects_than_ecmascript_read_differently_is_refused_in_regex(
    text: str, said: str
) -> None:
    with pytest.raises(BadPattern) as error:
        read_pattern(text, anywhere=False)
    assert said in str(error.value)


@pytest.mark.parametrize("text", ["a?" * 200, "(a|bc)?" * 200, "[ab]?x" * 400])
def test_what_the_submit_takes_can_be_compiled_in_longer_tokens(text: str) -> None:
    runs = [run * n for run in ("a", "bc", "abc", "ax") for n in range(1, 17)]
    places = {each: place for place, each in enumerate(dict.fromkeys(["b", "c", "x", *runs]))}
    backend = Tokenizer(models.BPE(places, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    byte_guide().built(regex(text))
    Guide(backend.to_str().encode(), len(places), [0]).built(regex(text))


def test_an_expression_may_repeat_so_often_and_no_more() -> None:
    assert read_pattern(f"a{{{MOST_REPEATED}}}", anywhere=False).least == MOST_REPEATED
    assert read_pattern(f"(a{{100}}){{{MOST_REPEATED // 100}}}", anywhere=True).repeats == 10_000


def test_the_error_names_the_field() -> None:
    with pytest.raises(InvalidRequest) as error:
        regex("(?=a)")
    assert (error.value.code, error.value.field) == ("invalid_grammar", "params.output.regex")


@pytest.mark.parametrize(
    "text", ["(" * 20_000, "[" * 60_000, "a|" * 30_000, "\\" * 60_001, "a{1}" * 16_000]
)
def test_a_long_expression_is_read_in_a_moment(text: str) -> None:
    gc.collect()  # or what other tests left is looked through meanwhile
    began = time.thread_time()
    with suppress(BadPattern):
        read_pattern(text, anywhere=False)
    assert time.thread_time() - began < 0.5
