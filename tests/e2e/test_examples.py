"""Every example runs, as its first lines say."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from cli.valkey import free_port
from tests.support.processes import ROOT
from tests.support.up import Running
from tests.support.up import running as started


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with started(tmp_path_factory.mktemp("examples") / "data") as up:
        yield up


def example(
    name: str, *arguments: str | Path, said: str = "", **env: str
) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / "examples" / name, *arguments]
    env = {**os.environ, "NO_PROXY": "127.0.0.1", "PYTHONPATH": f"{ROOT}:{ROOT}/client", **env}
    return subprocess.run(
        command,
        env=env,
        input=said,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_client_prints_what_came_of_each_line(running: Running, tmp_path: Path) -> None:
    (tmp_path / "prompts.jsonl").write_text(
        '{"custom_id": "a", "prompt": "say this"}\n{"prompt": "and that"}\n'
    )
    (tmp_path / "bad.jsonl").write_text('{"prompt": "say this"}\n{"promt": "and that"}\n')
    server = running.server()
    env = {"PROMPTMILL_URL": server["url"], "PROMPTMILL_API_KEY": server["api_key"]}
    done = example("client.py", tmp_path / "prompts.jsonl", **env)
    assert (done.returncode, done.stdout) == (0, "a\tsay this\n1\tand that\n"), done.stderr
    refused = example("client.py", tmp_path / "bad.jsonl", **env)
    assert refused.returncode == 1
    assert "line 2: promt is not known; did you mean prompt?" in refused.stderr


def test_a_table_comes_back_with_an_answer_in_each_row(
    running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    server, table = running.server(), ROOT / "examples" / "table.csv"
    env = {"PROMPTMILL_URL": server["url"], "PROMPTMILL_API_KEY": server["api_key"]}
    done = example("table.py", table, **env)
    assert done.returncode == 0, done.stderr
    assert [line.split("\t")[0] for line in done.stdout.splitlines()[:2]] == ["007", "008"]
    asked, answered = (
        pd.read_csv(table, dtype=str),
        pd.read_csv(tmp_path / "answers.csv", dtype=str),
    )
    assert answered[list(asked.columns)].equals(asked)
    assert all(answered["output"].str.contains("Summarise"))


def test_summaries_are_compared_with_those_that_people_wrote(running: Running) -> None:
    server = running.server()
    env = {"PROMPTMILL_URL": server["url"], "PROMPTMILL_API_KEY": server["api_key"]}
    done = example("evaluate.py", ROOT / "examples" / "evaluate.jsonl", **env)
    assert done.returncode == 0, done.stderr
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == [
        *("rouge_1", "rouge_2", "rouge_l", "length_tokens"),
        *["least:"] * 3,
    ]
    for name, value, between, n in lines[:4]:
        low, high = map(float, between.split(" to "))
        assert low <= float(value) <= high and n == "n=30", name
    scores = [float(line[1]) for line in lines[:3]]
    assert all(0 < score < 1 for score in scores), "the echo engine repeats the texts"


def test_the_openai_client_prints_the_answers_of_a_batch(running: Running) -> None:
    server = running.server()
    env = {"OPENAI_BASE_URL": f"{server['url']}/v1", "OPENAI_API_KEY": server["api_key"]}
    done = example("openai_batch.py", **env)
    assert done.returncode == 0, done.stderr
    answers = dict(line.split("\t") for line in done.stdout.splitlines())
    assert {name: "capital" in answer for name, answer in answers.items()} == {
        "france": True,
        "italy": True,
    }
    refused = example("openai_batch.py", "no-such-model", **env)
    assert refused.returncode == 1 and "no-such-model" in refused.stderr


def test_the_openai_client_chats_turn_by_turn(running: Running) -> None:
    server = running.server()
    env = {"OPENAI_BASE_URL": f"{server['url']}/v1", "OPENAI_API_KEY": server["api_key"]}
    done = example("openai_chat.py", said="alpha\nbeta\n", **env)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == "alpha"
    assert sorted(second.split()) == ["alpha", "alpha", "beta"], (
        "the second turn brings the first along"
    )


def test_lm_evaluation_harness_scores_a_model(tmp_path: Path, demo_model: Path) -> None:
    """Its few hundred megabytes are no dependency of ours: this runs where `lm_eval` is on the
    path."""
    harness = shutil.which("lm_eval")
    if harness is None:
        pytest.skip('needs lm_eval: pip install "lm-eval[api]" transformers')
    running = Running(tmp_path / "data", "--port", str(free_port()))
    try:
        server = running.wait_until_ready().server()
        env = {
            "PROMPTMILL_URL": server["url"],
            "OPENAI_API_KEY": server["api_key"],
            "NO_PROXY": "127.0.0.1",
        }
        script = ROOT / "examples" / "lm_eval" / "run.sh"
        command = ["sh", str(script), "smollm2-135m", str(demo_model)]
        done = subprocess.run(
            command, env=os.environ | env, capture_output=True, text=True, timeout=110, check=False
        )
        assert done.returncode == 0, done.stderr
        row = next(
            line
            for line in done.stdout.splitlines()
            if "promptmill_capitals" in line and "|acc" in line
        )
        assert float(row.split("|")[7]) >= 0.5, (
            "a choice of four is right more often than by chance"
        )
    finally:
        running.stop()


def test_the_engine_alone_answers_each_prompt() -> None:
    done = example("engine.py", "echo")
    assert done.returncode == 0, done.stderr
    assert "The capital of France is -> ['The capital of France is']" in done.stdout


def test_no_example_is_left_out() -> None:
    tests = "".join(file.read_text() for file in (ROOT / "tests").rglob("test_*.py"))
    assert [
        file.name for file in (ROOT / "examples").glob("*.py") if f'"{file.name}"' not in tests
    ] == []
