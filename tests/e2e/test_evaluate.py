"""`promptmill evaluate` against a running promptmill, with its evaluator."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.up import Running, run
from tests.support.up import running as started

WORDS = ("red", "green", "blue", "white", "black")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with started(tmp_path_factory.mktemp("evaluate") / "data", PROMPTMILL_ECHO_DELAY="0.01") as up:
        yield up


def promptmill(running: Running, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return run(*arguments, "--data", running.folder)


@pytest.fixture(scope="module")
def job(running: Running, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A job of 25 items: the echo engine says of each what its reference is, but of five."""
    rows = [
        {"custom_id": str(n), "prompt": f"say {WORDS[n % 5]} {n}", "reference": f"say {word} {n}"}
        for n, word in enumerate([*WORDS * 4, *["wrong"] * 5])
    ]
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = promptmill(running, "submit", path, "--param", "temperature=0")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_job_is_waited_for_and_its_scores_are_a_table(running: Running, job: str) -> None:
    done = promptmill(running, "evaluate", job, "--wait", "--metric", "exact_match")
    assert done.returncode == 0, done.stderr
    head, row = done.stdout.splitlines()
    assert head.split() == ["metric", "value", "low–high", "n", "nulls"]
    name, value, between, n, nulls = row.split()
    assert (name, value, n, nulls) == ("exact_match", "0.8", "25", "0")
    low, high = map(float, between.split("–"))
    assert low < 0.8 < high
    assert "25 of 25 items scored" in done.stderr


@pytest.mark.parametrize(
    ("rules", "code", "verdict"),
    [
        (["--min", "exact_match=0.2"], 0, "exact_match at least 0.2: passed"),
        (["--min", "exact_match=0.99"], 3, "exact_match at least 0.99: failed"),
        (["--max", "exact_match=0.2"], 3, "exact_match at most 0.2: failed"),
        (["--min", "exact_match=0.8"], 4, "exact_match at least 0.8: undecided (straddles)"),
        (["--min", "exact_match=0.8", "--max", "length_tokens=1"], 3, "length_tokens at most 1"),
    ],
)
def test_the_exit_code_says_whether_the_scores_pass(
    running: Running, job: str, rules: list[str], code: int, verdict: str
) -> None:
    done = promptmill(running, "evaluate", job, "--metric", "exact_match", *rules)
    assert done.returncode == code, done.stdout + done.stderr
    assert verdict in done.stdout


def test_other_references_come_from_a_table(running: Running, job: str, tmp_path: Path) -> None:
    table = tmp_path / "references.csv"
    table.write_text("custom_id,reference\n0,say red 0\n1,nothing\n")
    arguments = ["--wait", "--json", "--metric", "exact_match", "--references", str(table)]
    done = promptmill(running, "evaluate", job, *arguments)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["summary"]["exact_match"]["n"] == 2
    assert found["summary"]["exact_match"]["value"] == 0.5
    rows = promptmill(running, "results", job)
    scores = [json.loads(line)["scores"] for line in rows.stdout.splitlines()]
    assert scores[:3] == [{"exact_match": 1.0}, {"exact_match": 0.0}, {"exact_match": None}]


def test_what_cannot_be_asked_is_refused_as_by_every_command(
    running: Running, job: str, tmp_path: Path
) -> None:
    wrong = [
        (["job_0"], 1, "no job"),
        ([job, "--metric", "rouge"], 1, "did you mean"),
        ([job, "--min", "exact_match"], 2, "is not METRIC=VALUE"),
        ([job, "--max", "exact_match=many"], 2, "is no number"),
        ([job, "--references", str(tmp_path / "none.csv")], 2, "does not exist"),
    ]
    for arguments, code, said in wrong:
        done = promptmill(running, "evaluate", *arguments)
        assert (done.returncode, said in done.stderr) == (code, True), done.stderr


def test_without_wait_and_rules_it_prints_the_id(running: Running, job: str) -> None:
    done = promptmill(running, "evaluate", job, "--metric", "length_chars")
    assert done.returncode == 0 and done.stdout.startswith("eval_")
