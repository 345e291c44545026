"""Commands print no control characters that users or models wrote."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from cli.terminal import print_line, printable_lines

CLI = Path(__file__).parents[3] / "cli"


def test_lines_and_tabs_are_printed_and_commands_shown(capsys: pytest.CaptureFixture[str]) -> None:
    print_line("one\n\ttwo \x1b[31mred\x9b0m \u202eback 日本語")
    assert capsys.readouterr().out == "one\n\ttwo \\u001b[31mred\\u009b0m \\u202eback 日本語\n"


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_a_file_is_shown_by_line_however_it_comes(size: int) -> None:
    content = 'id,text\r\n1,"日本\x1b[2J\rx"\r\n2,end'.encode()
    pieces = [content[at : at + size] for at in range(0, len(content), size)]
    assert "".join(printable_lines(pieces)) == 'id,text\n1,"日本\\u001b[2J\\rx"\n2,end'


def test_commands_print_by_say_alone() -> None:
    """Whatever else they print with could be given what somebody else wrote."""
    for path in CLI.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and path.name != "terminal.py":
                assert ast.unparse(node.func) not in ("print", "click.echo", "click.secho"), (
                    f"{path.name}:{node.lineno}"
                )
