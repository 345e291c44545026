"""The command prints failures of the machine as one line."""

from __future__ import annotations

import errno
from pathlib import Path

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


def command_of(names: list[str]) -> click.Command:
    command: click.Command | None = cli
    for name in names:
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), name)
    assert command is not None
    return command


def all_options() -> list[list[str]]:
    return [
        [*names, option.opts[-1]]
        for names in all_commands()
        for option in command_of(names).params
        if isinstance(option, click.Option) and not option.is_flag
    ]


@pytest.mark.parametrize("option", all_options(), ids=" ".join)
def test_an_option_that_is_empty_is_refused_by_its_name(option: list[str]) -> None:
    with pytest.raises(click.BadParameter, match="is empty") as refused:
        command_of(option[:-1]).make_context("name", [option[-1], ""])
    assert option[-1] in refused.value.format_message()


def test_up_takes_every_engine_that_the_settings_have(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PROMPTMILL_QUANTIZE", "int8")  # so that nothing is started
    run = CliRunner().invoke(cli, ["up", "--engine", "vllm", "--data", str(tmp_path)])
    assert "PROMPTMILL_QUANTIZE=int8 is not honoured by engine vllm" in run.output
