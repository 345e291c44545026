"""`promptmill.map` and a running promptmill: every kind of table, stopped, repeated, changed."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import requests

import promptmill
from cli.valkey import free_port
from tests.support.processes import ROOT, spawn
from tests.support.up import Running
from tests.support.up import running as started
from tests.support.waiting import wait_until

TEXTS = ["say a", "say b 京", "=1+1", "{{other}}"]
FIXED = {"temperature": 0, "max_tokens": 20}
# What another process runs: the same call, whatever its folder.
CALL = """
import pandas, promptmill
table = pandas.DataFrame({"text": [f"{n}" + " of its own" * 7 for n in range(200)]})
result = promptmill.map(table, "{{text}}", chat=False, params={"temperature": 0}, progress=True)
assert list(result["output"]) == list(table["text"])
print("done")
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with started(
        tmp_path_factory.mktemp("map") / "data",
        PROMPTMILL_ECHO_DELAY="0.02",
        PROMPTMILL_SLOTS="32",
        PROMPTMILL_ECHO_FAIL_ON="please fail",
    ) as up:
        yield up


@pytest.fixture
def client(running: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[promptmill.Client]:
    server = running.server()
    monkeypatch.setenv("PROMPTMILL_URL", server["url"])
    monkeypatch.setenv("PROMPTMILL_API_KEY", server["api_key"])
    with promptmill.Client() as client:
        yield client


def mapped(table: Any, template: str = "{{text}}", **how: Any) -> Any:
    return promptmill.map(table, template, **{"params": FIXED, "chat": False, **how})


def generated(running: Running) -> int:
    """How many items the server ever ran to their end."""
    server = running.server()
    with requests.Session() as session:
        session.trust_env = False
        headers = {"Authorization": f"Bearer {server['api_key']}"}
        text = session.get(f"{server['url']}/metrics", headers=headers, timeout=10).text
    found = re.findall(r'promptmill_items_total\{.*outcome="succeeded"\} ([\d.e+]+)', text)
    return int(sum(map(float, found)))


def last_job(client: promptmill.Client) -> Any:
    return next(client.jobs())


@pytest.mark.parametrize(
    "kind", [pd.DataFrame, pl.DataFrame, None], ids=["pandas", "polars", "list"]
)
def test_every_kind_of_table_comes_back_with_its_outputs(
    client: promptmill.Client, kind: Any
) -> None:
    rows = [{"id": n, "text": text} for n, text in enumerate(TEXTS)]
    table: Any = kind(rows) if kind else rows
    result = mapped(table)
    assert type(result) is type(table)
    found = result if kind is None else list(result["output"])
    if kind is None:
        assert found == [{**row, "output": row["text"]} for row in rows]
    else:
        assert found == TEXTS and list(result.columns) == ["id", "text", "output"]


def test_frames_lists_and_files_of_the_same_content_are_one_job(
    client: promptmill.Client, running: Running, tmp_path: Path
) -> None:
    rows = [{"text": f"the same {n}"} for n in range(3)]
    before = generated(running)
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pd.DataFrame(rows).to_csv(tmp_path / "b.csv", index=False)
    for table in (pd.DataFrame(rows), pl.DataFrame(rows), rows):
        mapped(table)
    result = mapped(tmp_path / "a.jsonl")
    assert result == tmp_path / "a.output.jsonl"
    assert [json.loads(line)["output"] for line in result.read_text().splitlines()] == [
        row["text"] for row in rows
    ]
    result = mapped(str(tmp_path / "b.csv"), to=tmp_path / "out.csv")
    assert result == str(tmp_path / "out.csv")
    assert list(pd.read_csv(result)["output"]) == [row["text"] for row in rows]
    wait_until(lambda: generated(running) >= before + 3)
    assert generated(running) == before + 3


def test_one_changed_cell_or_parameter_is_another_job(
    client: promptmill.Client, running: Running
) -> None:
    rows = [{"id": n, "text": f"cell {n}"} for n in range(2)]
    mapped(rows)
    first = last_job(client)["id"]
    mapped(rows)
    assert last_job(client)["id"] == first
    seen = {first}
    for other in (
        {"table": [rows[0], {**rows[1], "id": 7}]},
        {"table": rows[::-1]},
        {"params": {**FIXED, "max_tokens": np.int64(19)}},
        {"template": "{{text}} "},
        {"clean": ["whitespace"]},
    ):
        mapped(**{"table": rows, **other})  # type: ignore[arg-type]
        seen.add(last_job(client)["id"])
    assert len(seen) == 6


def test_killed_in_the_middle_it_goes_on_from_another_folder(
    client: promptmill.Client, running: Running, tmp_path: Path
) -> None:
    before = generated(running)
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
        (folder / "call.py").write_text(CALL)
    command = [sys.executable, "call.py"]
    first = spawn(command, cwd=folders[0], stderr=subprocess.DEVNULL)
    wait_until(lambda: generated(running) >= before + 5)
    first.kill()
    first.wait()
    assert generated(running) < before + 200, "it was killed too late to show anything"
    done = subprocess.run(
        command, cwd=folders[1], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    assert "200 of 200" in done.stderr
    wait_until(lambda: generated(running) >= before + 200)
    assert generated(running) == before + 200
    assert list(folders[0].iterdir()) == [folders[0] / "call.py"], "nothing is left in a folder"


def test_ctrl_c_leaves_the_job_running_and_says_how_to_go_on(
    client: promptmill.Client, tmp_path: Path
) -> None:
    (tmp_path / "call.py").write_text(CALL.replace("of its own", "that are new"))
    process = spawn([sys.executable, "call.py"], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: last_job(client)["status"] == "running")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    job = last_job(client)
    assert process.returncode != 0
    assert f"{job['id']} goes on at the server" in said and "the same call goes on" in said
    assert f"promptmill.Client().cancel('{job['id']}')" in said
    assert client.wait(job["id"])["counts"]["succeeded"] == 200


def test_rows_that_failed_have_none_and_are_told(client: promptmill.Client) -> None:
    frame = pd.DataFrame(
        {"text": ["good one", None, "please fail", "good two"]}, index=["x", "x", "y", "z"]
    )
    with pytest.warns(promptmill.FailedRowsWarning) as warned:
        result = mapped(frame, error="why")
    said = str(warned[0].message)
    assert said.startswith("2 of 4 rows have no output (positions 1, 2, counted from 0): ")
    assert last_job(client)["links"]["page"] in said and ".retry('job_" in said
    assert "give error=" not in said
    assert warned[0].filename == __file__
    assert list(result.index) == ["x", "x", "y", "z"]
    assert list(result["output"]) == ["good one", None, None, "good two"]
    assert result["why"].iloc[0] is None and "{{text}}" in result["why"].iloc[1]
    with pytest.raises(promptmill.RowsFailed) as failed:
        mapped(frame, error="why", errors="raise")
    assert failed.value.job_id == last_job(client)["id"]
    assert sorted(failed.value.failures) == [1, 2]
    assert failed.value.table.equals(result)


def test_what_succeeded_when_it_was_retried_is_taken_by_the_same_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"text": "good one"}, {"text": "please fail"}]
    server = ("--engine", "echo", "--model", "echo", "--port", str(free_port()))
    with started(tmp_path / "data", *server, PROMPTMILL_ECHO_FAIL_ON="please fail") as up:
        monkeypatch.setenv("PROMPTMILL_URL", up.server()["url"])
        monkeypatch.setenv("PROMPTMILL_API_KEY", up.server()["api_key"])
        with pytest.warns(promptmill.FailedRowsWarning, match="^1 of 2 rows"):
            assert [row["output"] for row in mapped(rows)] == ["good one", None]
    with started(tmp_path / "data", *server), promptmill.Client() as client:
        job_id = last_job(client)["id"]
        client.retry(job_id)
        assert [row["output"] for row in mapped(rows)] == ["good one", "please fail"]
        assert [job["id"] for job in client.jobs()][1:] == [job_id]


def test_a_deleted_job_is_made_anew(client: promptmill.Client) -> None:
    rows = [{"text": "to be deleted"}]
    seen = []
    for _ in range(3):
        assert mapped(rows) == [{"text": "to be deleted", "output": "to be deleted"}]
        seen.append(last_job(client)["id"])
        client.delete(seen[-1])
    assert len(set(seen)) == 3


def test_a_variable_that_is_no_column_is_refused_before_anything_runs(
    client: promptmill.Client,
) -> None:
    with pytest.raises(promptmill.TableError, match=r"\{\{txt\}\}.*did you mean \{\{text\}\}"):
        mapped([{"text": "a"}], "Say {{txt}}")
    with pytest.raises(promptmill.TableError, match="column 'output' already"):
        mapped([{"text": "a", "output": "b"}])


def test_several_outputs_of_a_row_are_a_list(client: promptmill.Client) -> None:
    (row,) = mapped([{"text": "a b"}], params={"n": 2, "temperature": 1})
    assert len(row["output"]) == 2 and all(isinstance(text, str) for text in row["output"])


def test_five_thousand_rows_of_mixed_types_come_back_in_their_order(
    client: promptmill.Client,
) -> None:
    frame = pd.DataFrame(
        {
            "text": [f"row {n}" for n in range(5000)],
            "part": [n / 3 if n % 7 else float("nan") for n in range(5000)],
            "day": pd.date_range("2024-02-29", periods=5000),
        },
        index=[n // 2 for n in range(5000)],
    )
    result = mapped(frame, params={"max_tokens": 1, "temperature": 0})
    assert list(result["output"]) == ["row"] * 5000
    pd.testing.assert_frame_equal(result[["text", "part", "day"]], frame)


def test_a_server_that_is_away_is_told_within_seconds() -> None:
    nowhere = promptmill.Client("http://127.0.0.1:9", "pm_x", patience=1)
    with pytest.raises(promptmill.ServerUnreachable, match="is promptmill up"):
        promptmill.map([{"a": 1}], "x", client=nowhere)
    with pytest.raises(ValueError, match="is no URL of a server"):
        promptmill.Client("queue:8000", "pm_x")
    with pytest.raises(promptmill.PromptmillError, match="PROMPTMILL_API_KEY"):
        promptmill.Client("http://127.0.0.1:9")


def test_the_installed_package_is_this_one() -> None:
    assert Path(promptmill.__file__).is_relative_to(ROOT / "client")
