"""`promptmill compare` against a running promptmill, whose evaluator does the work."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.up import Running, run
from tests.support.up import running as started


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with started(tmp_path_factory.mktemp("compare-command") / "data") as up:
        yield up


@pytest.fixture(scope="module")
def jobs(running: Running, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The same rows at two lengths; they have references, so they are evaluated when they end."""
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    rows = [
        {
            "custom_id": f"row-{i}",
            "prompt": f"the parcel {i} came late",
            "reference": f"parcel {i} late",
        }
        for i in range(30)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = [said(running, "submit", path, "--param", f"max_tokens={most}") for most in (4, 12)]
    for job in made:
        said(running, "watch", job)
    return made


def said(running: Running, *arguments: str | Path) -> str:
    done = run(*arguments, "--data", running.folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_it_prints_scores_differences_and_settings(running: Running, jobs: list[str]) -> None:
    told = said(running, "compare", *jobs)
    assert f"baseline: {jobs[0]}" in told
    assert "30 matched by custom_id; 30 have a result in all jobs, in 30 an output differs" in told
    assert "params.max_tokens: 4 | 12" in told
    lines = told.splitlines()
    head = next(line for line in lines if line.startswith("metric"))
    assert head.split()[:4] == ["metric", "job", "n", "value"]
    assert any(line.startswith("rouge_l") for line in lines)
    assert f"/compare?jobs={jobs[0]},{jobs[1]}" in told


def test_a_job_with_itself_differs_by_nothing(running: Running, jobs: list[str]) -> None:
    told = json.loads(said(running, "compare", jobs[0], jobs[0], "--metric", "rouge_l", "--json"))
    (metric,) = told["metrics"]
    apart = metric["jobs"][1]["difference"]
    assert (apart["value"], apart["p"], apart["p_holm"]) == (0.0, 1.0, 1.0)


def test_what_cannot_be_compared_is_said(running: Running, jobs: list[str]) -> None:
    done = run("compare", jobs[0], jobs[1], "--metric", "blue", "--data", running.folder)
    assert done.returncode == 1
    assert "blue is not in this comparison; it has" in done.stderr
    done = run("compare", jobs[0], "job_0none", "--data", running.folder)
    assert done.returncode == 1
    assert "no job" in done.stderr
    done = run("compare", jobs[0], "--data", running.folder)
    assert done.returncode == 2
    assert "Missing argument 'JOB…'" in done.stderr


def test_rows_with_unlike_references_are_told(
    running: Running, jobs: list[str], tmp_path: Path
) -> None:
    table = tmp_path / "gold.jsonl"
    gold = [{"custom_id": f"row-{i}", "reference": "another"} for i in range(2)]
    table.write_text("".join(json.dumps(row) + "\n" for row in gold))
    assert "same references" not in said(running, "compare", *jobs)
    said(running, "evaluate", jobs[1], "--wait", "--metric", "rouge_l", "--references", table)
    told = said(running, "compare", *jobs)
    assert "30 were not compared with the same references" in told
