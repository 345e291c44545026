"""The command prints failures of the machine as one line."""

from __future__ import annotations

import errno

import click
import pytest
from click.testing import CliRunner

from cli.folder import DataFolder
from cli.main import cli


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def full(_folder: DataFolder) -> None:
        raise OSError(code, "no space", "/data/server.json")

    monkeypatch.setattr(DataFolder, "server", full)
    ended = CliRunner().invoke(cli, ["login"])
    assert (ended.exit_code, ended.stderr) == (
        2,
        "promptmill: the disk of /data/server.json is full; free some space there\n",
    )


def all_commands() -> list[list[str]]:
    found: list[list[str]] = [[]]
    for name in cli.list_commands(click.Context(cli)):
        command = cli.get_command(click.Context(cli), name)
        found.append([name])
        if isinstance(command, click.Group):
            found += [[name, inner] for inner in command.commands]
    return found


@pytest.mark.parametrize("command", all_commands(), ids=" ".join)
@pytest.mark.parametrize("width", [40, 80])
def test_no_help_is_cut_off(command: list[str], width: int) -> None:
    said = CliRunner().invoke(cli, [*command, "--help"], terminal_width=width)
    assert said.exit_code == 0
    assert "..." not in said.output.replace("[ARGS]...", "")
