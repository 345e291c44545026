"""Options of the command line that become fields of a job."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from cli import sent_options
from cli.sent_options import parse_clean, parse_map, parse_params, parse_sweep, parse_truncate

COMMAND = click.Command("submit")
OPTION = click.Option(["--option"])


def parsed(parse: Callable[..., Any], given: Any) -> Any:
    return parse(click.Context(COMMAND), OPTION, given)


@pytest.mark.parametrize(
    ("parse", "given", "expected"),
    [
        (
            parse_params,
            ("max_tokens=2", "stop=a=b", 'stop=["x"]'),
            {"max_tokens": 2, "stop": ["x"]},
        ),
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
        (parse_clean, "html, whitespace", ["html", "whitespace"]),
        (parse_truncate, "512:start:text", {"to": 512, "keep": "start", "variable": "text"}),
        (parse_truncate, "fit", {"to": "fit"}),
        (parse_truncate, "8::a:b", {"to": 8, "variable": "a:b"}),
        (parse_clean, None, None),
        (parse_truncate, None, None),
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
        (parse_map, ("=id",), "'=id' is not NAME=VALUE"),
        (parse_clean, "html,htm", "'htm' is none of encoding, unicode, html"),
        (parse_truncate, "start:512", "'start' is no number of tokens"),
        (parse_truncate, "512:middle", "'middle' is none of start, end, both"),
        (sent_options.parse_text, "@nowhere.txt", "nowhere.txt: No such file"),
    ],
)
def test_a_wrong_option_is_told_with_what_it_may_be(
    parse: Callable[..., Any], given: Any, says: str
) -> None:
    with pytest.raises(click.BadParameter, match=says):
        parsed(parse, given)


def test_a_text_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "template.txt").write_text("\ufeffSay {{text}}\n", encoding="utf-8")
    assert parsed(sent_options.parse_text, f"@{tmp_path}/template.txt") == "Say {{text}}\n"
    assert parsed(sent_options.parse_text, "Say {{text}}") == "Say {{text}}"
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(click.BadParameter, match="is not UTF-8"):
        parsed(sent_options.parse_text, f"@{tmp_path}/latin.txt")
