"""Jobs that are scored, made of other jobs' rows, judged by a model and rated by people, from the
command line and from Python; on a model of random weights."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

import promptmill
from cli.valkey import free_port
from tests.e2e.test_models import save_gpt2
from tests.support.up import Running, run

ROWS = 6
JUDGE = "A: {{output_a}} B: {{output_b}} "


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("judging")
    model = save_gpt2(folder / "tiny-gpt2")
    up = Running(
        *(folder / "data", "--model", str(model), "--port", str(free_port())),
        PROMPTMILL_DTYPE="float32",
    )
    try:
        yield up.wait_until_ready()
    finally:
        up.stop()


def promptmill_command(running: Running, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(*arguments, "--data", running.folder)


def said(running: Running, *arguments: str) -> str:
    done = promptmill_command(running, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def shown(running: Running, job: str) -> dict:
    """A job as the API shows it, when it is over."""
    said(running, "watch", job)
    with promptmill_client(running) as client:
        return dict(client.job(job))


def promptmill_client(running: Running) -> promptmill.Client:
    server = running.server()
    return promptmill.Client(server["url"], server["api_key"])


@pytest.fixture(scope="module")
def jobs(running: Running, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two jobs of the same table, scored by two metrics."""
    table = tmp_path_factory.mktemp("rows") / "rows.csv"
    table.write_text("id,text,gold\n" + "".join(f"r{i},upon {i},once\n" for i in range(ROWS)))
    how = ("--template", "{{text}}", "--map", "custom_id=id", "--map", "reference=gold")
    made = []
    for seed in (1, 2):
        params = ("--param", "max_tokens=8", "--param", f"seed={seed}")
        metrics = ("--metrics", '["chrf", {"name": "bleu", "tokenize": "char"}]')
        made.append(said(running, "submit", str(table), *how, *params, *metrics))
    return made


def test_a_job_is_scored_by_the_metrics_of_its_submit(running: Running, jobs: list[str]) -> None:
    asked = shown(running, jobs[0])["metrics"]
    assert asked == ["chrf", {"name": "bleu", "tokenize": "char"}]
    done = promptmill_command(running, "evaluate", jobs[0], "--wait")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["metric", "chrf", "bleu"]


def test_a_job_is_made_of_another_jobs_rows(running: Running, jobs: list[str]) -> None:
    how = ("--template", "{{output}} then", "--param", "max_tokens=4", "--metrics", "length_chars")
    job = shown(running, said(running, "submit", "--input-from", jobs[0], *how))
    assert (job["counts"]["succeeded"], job["metrics"]) == (ROWS, ["length_chars"])
    assert job["input_from"]["jobs"] == [jobs[0]]
    with promptmill_client(running) as client:
        same = client.derive([jobs[0]], template={"prompt": "{{output}} then"}, priority=1)
        assert client.wait(same["id"])["counts"]["succeeded"] == ROWS


def test_a_model_judges_two_jobs_in_both_orders(running: Running, jobs: list[str]) -> None:
    sources = ("--input-from", jobs[0], "--input-from", jobs[1])
    job = shown(running, said(running, "submit", *sources, "--judge", "pairs", "--template", JUDGE))
    assert (job["judge"], job["counts"]["succeeded"]) == ("pairs", 2 * ROWS)


def test_metrics_and_jobs_that_there_are_not_are_refused(
    running: Running, jobs: list[str], tmp_path: Path
) -> None:
    table = tmp_path / "table.csv"
    table.write_text("prompt\none\n")
    done = promptmill_command(running, "submit", str(table), "--metrics", "chrf,beauty")
    assert (done.returncode, "beauty" in done.stderr) == (1, True), done.stderr
    missing = ("submit", "--input-from", "job_0none", "--template", "{{output}}")
    done = promptmill_command(running, *missing)
    assert (done.returncode, "no job job_0none" in done.stderr) == (1, True), done.stderr


def rate_all(url: str) -> int:
    """Press the button of a link, and call the left side better until nothing is left; answers how
    many tasks that were."""
    base, _, secret = url.partition("/rate/open?token=")
    with requests.Session() as browser:
        browser.trust_env = False
        browser.post(f"{base}/rate/open", data={"token": secret}).raise_for_status()
        for count in range(100):
            task = browser.get(f"{base}/rate/v1/rating/next").json()["task"]
            if task is None:
                return count
            answer = browser.put(f"{base}/rate/v1/rating/{task}", json={"fluency": "left"})
            answer.raise_for_status()
    raise AssertionError("there is always one more")


def test_a_study_is_made_rated_summed_up_and_exported(running: Running, jobs: list[str]) -> None:
    for job in jobs:
        said(running, "watch", job)
    asked = ("--criteria", "fluency", "--sample", "4", "--raters", "2")
    study = said(running, "study", "create", *jobs, *asked)
    assert study.startswith("study_")
    for name in ("Ada", "Grace"):
        assert rate_all(said(running, "study", "link", study, name)) == 4
    lines = said(running, "study", "results", study).splitlines()
    assert lines[:3] == ["pairs: 8 of 8 ratings", "  Ada: 4", "  Grace: 4"]
    assert any(line.startswith("fluency: 8 votes; agreement ") for line in lines)
    head, *scores = lines[-3:]
    assert head.split()[:4] == ["job", "wins", "ties", "losses"]
    assert [line.split()[0] for line in scores] == jobs
    found = json.loads(said(running, "study", "results", study, "--json"))
    assert found["results"]["fluency"]["votes"] == 8
    exported = said(running, "study", "export", study).splitlines()
    table = list(
        csv.DictReader(io.StringIO(said(running, "study", "export", study, "--format", "csv")))
    )
    assert (len(exported), len(table)) == (8, 8)


def test_a_study_that_cannot_be_made_says_why(running: Running, jobs: list[str]) -> None:
    wrong = [
        (["create", jobs[0], "--criteria", "fluency"], 1, "needs two jobs or more"),
        (["create", *jobs], 2, "Missing option '--criteria'"),
        (["create", jobs[0], "job_0none", "--criteria", "a"], 1, "no job job_0none"),
        (["results", "study_0none"], 1, "no study study_0none"),
        (["export", "study_0none"], 1, "no study study_0none"),
        (["link", "study_0none", "Ada"], 1, "no study study_0none"),
    ]
    for arguments, code, message in wrong:
        done = promptmill_command(running, "study", *arguments)
        assert (done.returncode, message in done.stderr) == (code, True), done.stderr
