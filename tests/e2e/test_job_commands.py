"""The commands about jobs against a running promptmill, and what `submit` makes of a table."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import ROOT, spawn
from tests.support.up import Running, run
from tests.support.up import running as started
from tests.support.waiting import wait_until

ENDLESS = ("--param", "max_tokens=4000", "--param", "ignore_eos=true")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with started(
        tmp_path_factory.mktemp("job-commands") / "data",
        PROMPTMILL_ECHO_DELAY="0.02",
        PROMPTMILL_ECHO_FAIL_ON="please fail",
    ) as up:
        yield up


def promptmill(running: Running, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return run(*arguments, "--data", running.folder)


def said(running: Running, *arguments: str | Path) -> str:
    done = promptmill(running, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.txt"
    path.write_text("say one\nplease fail\nsay three\n")
    return path


def facts(running: Running, job_id: str) -> dict[str, str]:
    lines = said(running, "jobs", "show", job_id).splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_a_job_is_listed_shown_retried_and_deleted(running: Running, prompts: Path) -> None:
    job_id = said(running, "submit", prompts, "--param", "seed=7")
    assert promptmill(running, "watch", job_id).returncode == 1
    shown = facts(running, job_id)
    assert (shown["id"], shown["status"]) == (job_id, "completed")
    assert (shown["items"], shown["params"]) == ("3: 2 succeeded, 1 failed", "seed=7")
    assert shown["page"].endswith(f"/jobs/{job_id}")
    retry = said(running, "jobs", "retry", job_id)
    promptmill(running, "watch", retry)
    assert facts(running, retry)["retry of"] == job_id
    listed = said(running, "jobs", "list", "--limit", "2").splitlines()
    assert [line.split()[0] for line in listed] == [retry, job_id]
    assert "3/3, 1 failed" in listed[1]
    found = said(running, "jobs", "list", "--search", job_id, "--status", "failed")
    assert found == listed[1]
    assert "status" in promptmill(running, "jobs", "list", "--status", "flying").stderr
    assert promptmill(running, "jobs", "delete", job_id).returncode == 2
    assert facts(running, job_id)["id"] == job_id
    deleted = said(running, "jobs", "delete", "--yes", job_id, retry)
    assert deleted == f"deleted {job_id}\ndeleted {retry}"
    assert f"no job {job_id}" in promptmill(running, "jobs", "show", job_id).stderr


def test_models_are_listed_with_what_their_engines_have(running: Running) -> None:
    assert said(running, "models").splitlines() == [
        "echo  engine echo, 1 worker, 8,192 tokens",
        "  features: seeded_resume",
    ]


def test_a_rerun_is_of_the_rows_and_with_the_parameters_that_are_asked_for(
    running: Running, prompts: Path
) -> None:
    job_id = said(running, "submit", prompts, "--param", "max_tokens=2")
    promptmill(running, "watch", job_id)
    how = ("--rows", "failed", "--error", "engine_error", "--param", "max_tokens=1")
    again = said(running, "jobs", "rerun", job_id, *how)
    promptmill(running, "watch", again)
    shown = facts(running, again)
    assert (shown["rerun of"], shown["items"], shown["params"]) == (
        job_id,
        "1: 1 failed",
        "max_tokens=1",
    )
    refused = promptmill(running, "jobs", "rerun", job_id, "--rows", "unfinished")
    assert refused.returncode == 1 and "nothing to run again" in refused.stderr


def test_a_job_is_paused_resumed_and_cancelled(running: Running, prompts: Path) -> None:
    job_id = said(running, "submit", prompts, *ENDLESS)
    assert said(running, "jobs", "pause", job_id).startswith("paused: ")
    assert facts(running, job_id)["status"] == "paused"
    assert not said(running, "jobs", "resume", job_id).startswith("paused")
    said(running, "jobs", "cancel", job_id)
    wait_until(lambda: facts(running, job_id)["status"] == "cancelled")
    refused = promptmill(running, "jobs", "pause", job_id)
    assert refused.returncode == 1 and "is over" in refused.stderr


def test_a_retry_of_a_cancelled_job_is_pointed_to_what_runs_the_rest(
    running: Running, tmp_path: Path
) -> None:
    (tmp_path / "one.txt").write_text("say one\n")
    job_id = said(running, "submit", tmp_path / "one.txt", *ENDLESS)
    said(running, "cancel", job_id)
    wait_until(lambda: facts(running, job_id)["status"] == "cancelled")
    refused = promptmill(running, "jobs", "retry", job_id)
    assert refused.returncode == 1 and "--rows unfinished` runs the rest" in refused.stderr


def test_watch_says_something_where_nobody_sees_a_bar(running: Running, prompts: Path) -> None:
    job_id = said(running, "submit", prompts)
    told = promptmill(running, "watch", job_id).stderr.splitlines()
    assert told[0].startswith(f"{job_id}: ")
    assert told[-1] == f"{job_id}: 3 of 3 finished, 1 failed"


def test_a_table_without_prompts_is_refused_with_options_that_exist(
    running: Running, tmp_path: Path
) -> None:
    (tmp_path / "table.csv").write_text("id,text\n1,one\n")
    refused = promptmill(running, "submit", tmp_path / "table.csv").stderr
    assert "with --map prompt=COLUMN, or give a --template: the file has id, text" in refused
    assert "prompt_column" not in refused
    lone = promptmill(running, "submit", tmp_path / "table.csv", "--system", "Be brief.")
    assert lone.returncode == 2 and "are about --template" in lone.stderr


def table(folder: Path) -> Path:
    path = folder / "table.csv"
    path.write_text("id,text,t\n007,say <b>one</b> two three,0\n008,,0\n009,please fail,1\n")
    return path


def test_a_table_is_previewed_and_submitted_as_the_options_say(
    running: Running, tmp_path: Path
) -> None:
    mapped = "--template|Echo {{text}}|--map|custom_id=id|--map|params.temperature=t"
    prepared = "--clean|html|--truncate|2:end:text|--bad-rows|fail|--param|max_tokens=9"
    how = f"{mapped}|{prepared}".split("|")
    previewed = said(running, "submit", table(tmp_path), *how, "--preview").splitlines()
    assert previewed[:2] == ["line 2 (007): 3 tokens, 2 cut", "Echo two three"]
    assert previewed[3].startswith("line 3 (008)") and "{{text}}" in previewed[4]
    job_id = said(running, "submit", table(tmp_path), *how)
    assert promptmill(running, "watch", job_id).returncode == 1
    done = csv.DictReader(said(running, "results", job_id, "--format", "csv").splitlines())
    rows = {row["id"]: (row["pm_text"], row["pm_error_code"]) for row in done}
    assert rows == {
        "007": ("Echo two three", ""),
        "008": ("", "missing_variable"),
        "009": ("", "engine_error"),
    }
    assert facts(running, job_id)["name"] == "table.csv"


def test_a_sweep_prints_a_job_for_each_combination(running: Running, tmp_path: Path) -> None:
    done = promptmill(
        running,
        "submit",
        table(tmp_path),
        "--map",
        "prompt=text",
        "--bad-rows",
        "fail",
        "--sweep",
        "temperature=0,0.5",
        "--sweep",
        'stop=["x"]',
    )
    assert done.returncode == 0, done.stderr
    job_ids = done.stdout.split()
    assert len(job_ids) == 2
    assert "temperature=0.5" in done.stderr
    for job_id in job_ids:
        promptmill(running, "watch", job_id)
        assert facts(running, job_id)["items"].startswith("3: ")


def test_a_sweeps_id_stands_for_its_jobs(running: Running, prompts: Path) -> None:
    done = promptmill(running, "submit", prompts, "--sweep", "seed=1,2", *ENDLESS)
    sweep, job_ids = done.stderr.partition(":")[0], done.stdout.split()
    shown = said(running, "jobs", "show", sweep)
    assert all(job_id in shown for job_id in job_ids) and f"/sweeps/{sweep}" in shown
    for command in (("results",), ("jobs", "retry"), ("jobs", "delete", "--yes")):
        refused = promptmill(running, *command, sweep)
        assert refused.returncode == 1 and f"`promptmill jobs show {sweep}`" in refused.stderr
    assert [line.split(":")[0] for line in said(running, "cancel", sweep).splitlines()] == job_ids
    watched = promptmill(running, "watch", sweep)
    assert watched.returncode == 1 and all(f"{job_id}: " in watched.stdout for job_id in job_ids)


def test_ctrl_c_ends_the_watching_and_not_the_job(running: Running, prompts: Path) -> None:
    job_id = said(running, "submit", prompts, *ENDLESS)
    command = [sys.executable, "-m", "cli.main", "watch", job_id, "--data", str(running.folder)]
    process = spawn(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr and process.stderr.readline().startswith(job_id)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert f"{job_id} goes on; `promptmill watch {job_id}`" in told and "Aborted" not in told
    assert facts(running, job_id)["status"] in ("queued", "running")
    said(running, "cancel", job_id)


def test_a_refused_row_is_told_once_with_the_option_that_keeps_the_others(
    running: Running, tmp_path: Path
) -> None:
    how = ("--template", "{{text}}")
    refused = promptmill(running, "submit", table(tmp_path), *how).stderr
    assert refused.count("which has no value here") == 1
    assert "with --bad-rows fail the other rows run" in refused
    (tmp_path / "many.csv").write_text("id,text\n" + "1,a\n" * 5)
    previewed = promptmill(running, "submit", tmp_path / "many.csv", *how, "--preview")
    assert previewed.returncode == 0 and "the first 3 rows; submit checks all" in previewed.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        ("id,text\n", "the file has no rows"),
    ],
)
def test_a_table_of_no_rows_is_called_so(
    running: Running, tmp_path: Path, content: str, said: str
) -> None:
    (tmp_path / "none.csv").write_text(content)
    for preview in ([], ["--preview"]):
        how = ("--template", "Say it", *preview)
        done = promptmill(running, "submit", tmp_path / "none.csv", *how)
        assert done.returncode == 1 and done.stderr.count(said) == 1


def test_a_file_is_read_and_its_results_are_written_as_the_options_say(
    running: Running, tmp_path: Path
) -> None:
    path = tmp_path / "halves.csv"
    path.write_bytes("id;text\n1;=1+1\n".encode("utf-16-le"))
    how = ("--template", "{{text}}", "--format", "delimiter=;")
    assert (
        "say so with --format encoding=utf-16" in promptmill(running, "submit", path, *how).stderr
    )
    job_id = said(running, "submit", path, *how, "--format", "encoding=utf-16")
    promptmill(running, "watch", job_id)
    assert "'=1+1" in said(running, "results", job_id, "--format", "csv")
    flags = ("--format", "csv", "--no-guard", "--bom", "--include-prompt")
    plain = said(running, "results", job_id, *flags)
    assert plain.startswith("\ufeffid,text,") and "pm_rendered" in plain and "'=1+1" not in plain
    wrong = promptmill(running, "results", job_id, "--no-guard")
    assert wrong.returncode == 2 and "give --format csv" in wrong.stderr


def test_fields_of_generated_json_become_columns(running: Running, tmp_path: Path) -> None:
    path = tmp_path / "json.txt"
    path.write_text('{"name": "Ann"}\n')  # which the echo engine says again
    job_id = said(running, "submit", path, "--param", "temperature=0")
    promptmill(running, "watch", job_id)
    table = said(running, "results", job_id, "--format", "csv", "--flatten")
    assert table.splitlines()[0].endswith(",output.name")
    assert table.splitlines()[1].endswith(",Ann")
    wrong = promptmill(running, "results", job_id, "--flatten")
    assert wrong.returncode == 2 and "give --format csv or parquet" in wrong.stderr


def test_a_wrong_key_and_a_missing_folder_are_told_in_words(
    running: Running, tmp_path: Path, prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = promptmill(running, "backup", tmp_path / "nodir" / "x")
    assert refused.returncode == 2 and "there is no folder" in refused.stderr
    monkeypatch.setenv("PROMPTMILL_URL", running.server()["url"])
    monkeypatch.setenv("PROMPTMILL_API_KEY", "pm_wrong")
    for how in ((), ("--template", "Say it")):
        assert "key is not valid here" in promptmill(running, "submit", prompts, *how).stderr


def test_the_readmes_prompts_are_there(running: Running) -> None:
    assert "promptmill submit examples/prompts.jsonl" in (ROOT / "README.md").read_text()
    job_id = said(running, "submit", ROOT / "examples" / "prompts.jsonl")
    assert promptmill(running, "watch", job_id).returncode == 0
