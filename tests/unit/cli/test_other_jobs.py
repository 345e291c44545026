"""What goes together with `--input-from` and `--judge`; nothing is sent."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import cli


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either FILE or --input-from"),
        (["FILE", "--input-from", "job_0"], "give either FILE or --input-from"),
        (["FILE", "--judge", "pairs"], "give --input-from"),
        (["--input-from", "job_0", "--map", "prompt=text"], "--map is about FILE"),
        (["--input-from", "job_0", "--preview"], "--preview is about FILE"),
        (["--input-from", "job_0", "--sweep", "seed=1,2"], "--sweep is about FILE"),
        (["--input-from", "job_0", "--judge", "beauty"], "'beauty' is not one of"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    table = tmp_path / "table.csv"
    table.write_text("prompt\none\n")
    given = [str(table) if each == "FILE" else each for each in arguments]
    ended = CliRunner().invoke(cli, ["submit", *given])
    assert (ended.exit_code, message in ended.stderr) == (2, True), ended.stderr
