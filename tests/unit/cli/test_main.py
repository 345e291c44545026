"""The command prints failures of the machine as one line."""

from __future__ import annotations

import errno

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
