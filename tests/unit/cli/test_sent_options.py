"""Options of the command line that become fields of a job."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from cli import sent_options
from cli.sent_options import (
    add_output,
    once,
    parse_choice,
    parse_clean,
    parse_format,
    parse_map,
    parse_params,
    parse_regex,
    parse_schema,
    parse_sweep,
    parse_truncate,
)

COMMAND = click.Command("submit")
OPTION = click.Option(["--option"])


def parsed(parse: Callable[..., Any], given: Any) -> Any:
    return parse(click.Context(COMMAND), OPTION, given)


@pytest.mark.parametrize(
    ("parse", "given", "expected"),
    [
        (
            parse_params,
            ("max_tokens=2", 'stop=["x"]'),
            {"max_tokens": 2, "stop": ["x"]},
        ),
        (parse_params, ("stop=a=b",), {"stop": "a=b"}),
        (
            parse_sweep,
            ("temperature=0,0.7", "stop=a,b"),
            {"temperature": [0, 0.7], "stop": ["a", "b"]},
        ),
        (parse_sweep, (r'stop=[["\n"], ["."]]',), {"stop": [["\n"], ["."]]}),
        (parse_sweep, ("seed=7",), {"seed": [7]}),
        (
            parse_map,
            ("custom_id=id", "params.temperature=t", "params.seed=s", "prompt=a=b"),
            {"custom_id": "id", "params": {"temperature": "t", "seed": "s"}, "prompt": "a=b"},
        ),
        (parse_clean, ("html, whitespace",), ["html", "whitespace"]),
        (parse_truncate, ("512:start:text",), {"to": 512, "keep": "start", "variable": "text"}),
        (parse_truncate, ("fit",), {"to": "fit"}),
        (parse_truncate, ("8::a:b",), {"to": 8, "variable": "a:b"}),
        (
            parse_format,
            (r"delimiter=\t", "encoding=utf-16", "sheet=Sheet 2"),
            {"delimiter": "\t", "encoding": "utf-16", "sheet": "Sheet 2"},
        ),
        (parse_format, (), {}),
        (parse_choice, ("yes,no",), {"choice": ["yes", "no"]}),
        (parse_choice, ('["a, b", "c"]',), {"choice": ["a, b", "c"]}),
        (parse_choice, ("5",), {"choice": ["5"]}),
        (parse_regex, ("@[a-z]+",), {"regex": "@[a-z]+"}),
        (parse_schema, ('{"b": 1, "a": 2}',), {"json_schema": {"b": 1, "a": 2}}),
        (parse_schema, (), None),
        (once, ("a@2",), "a@2"),
        (once, (), None),
        (parse_clean, (), None),
        (parse_truncate, (), None),
    ],
)
def test_an_option_is_a_field_of_a_job(
    parse: Callable[..., Any], given: Any, expected: Any
) -> None:
    assert parsed(parse, given) == expected


@pytest.mark.parametrize(
    ("parse", "given", "says"),
    [
        (parse_params, ("max_tokens",), "'max_tokens' is not NAME=VALUE"),
        (parse_map, ("=id",), "'=id' is not FIELD=COLUMN"),
        (parse_clean, ("html,htm",), "'htm' is none of encoding, unicode, html"),
        (parse_truncate, ("start:512",), "'start' is no number of tokens"),
        (parse_truncate, ("512:middle",), "'middle' is none of start, end, both"),
        (
            parse_format,
            ("encoding=utf-16", "decimal=,"),
            "'decimal' is none of delimiter, encoding",
        ),
        (parse_format, ("sheet",), "'sheet' is not NAME=VALUE"),
        (parse_params, ("seed=1", "seed=2"), "'seed' is given twice"),
        (parse_sweep, ("seed=1", "seed=2"), "'seed' is given twice"),
        (parse_map, ("custom_id=id", "custom_id=text"), "'custom_id' is given twice"),
        (parse_schema, ("{",), "it is not JSON: "),
        (parse_schema, ("[" * 100_000,), "it is not JSON: "),
        (parse_choice, ("",), "it is empty"),
        (parse_regex, ("a", "b"), "it is given twice"),
        (once, ("a", "b"), "it is given twice"),
        (once, ("",), "it is empty"),
        (parse_clean, ("",), "it is empty"),
        (sent_options.parse_text, ("",), "it is empty"),
        (sent_options.parse_text, ("a", "b"), "it is given twice"),
        (sent_options.parse_text, ("@nowhere.txt",), "nowhere.txt: No such file"),
    ],
)
def test_a_wrong_option_is_told_with_what_it_may_be(
    parse: Callable[..., Any], given: Any, says: str
) -> None:
    with pytest.raises(click.BadParameter, match=says):
        parsed(parse, given)


def test_a_text_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "template.txt").write_text("\ufeffSay {{text}}\n", encoding="utf-8")
    assert parsed(sent_options.parse_text, (f"@{tmp_path}/template.txt",)) == "Say {{text}}\n"
    assert parsed(sent_options.parse_text, ("Say {{text}}",)) == "Say {{text}}"
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(click.BadParameter, match="is not UTF-8"):
        parsed(sent_options.parse_text, (f"@{tmp_path}/latin.txt",))


def test_a_job_has_one_output_however_it_is_given() -> None:
    options: dict[str, Any] = {"params": {"seed": 1}}
    add_output(options, {}, [None, {"choice": ["a"]}, None])
    assert options == {"params": {"seed": 1, "output": {"choice": ["a"]}}}
    formats: list[Any] = [{"json_schema": {}}, {"regex": "a"}]
    wrongs: list[tuple[Any, Any, list[Any]]] = [
        ({}, {}, formats),
        ({"params": {"output": {"json": True}}}, {}, formats[:1]),
        ({}, {"output": [{"json": True}]}, formats[1:]),
    ]
    for wrong in wrongs:
        with pytest.raises(click.UsageError, match="give one"):
            add_output(*wrong)
    nothing: dict[str, Any] = {}
    add_output(nothing, {}, [None, None])
    assert nothing == {}
