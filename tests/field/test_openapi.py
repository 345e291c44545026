"""Requests made from the specification are answered as it says: schemathesis, against a whole
stack.

What it finds is a fault, of the product or of the description. Its report is the failure's message;
a request may be repeated with the `curl` line in it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.up import Running, running

SETTINGS = Path(__file__).with_name("schemathesis.toml")
LIMIT = 500  # seconds, on a machine where much else runs; a minute where it is quiet


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("echo")) as stack:
        yield stack


def make_some_of_each(server: dict[str, str]) -> dict[str, list[str]]:
    """Jobs, evaluations, sweeps, studies, files and batches, so that their operations have
    something to work on, also when some were deleted."""
    line = {
        "custom_id": "a",
        "method": "POST",
        "url": "/v1/completions",
        "body": {"model": "echo", "prompt": "a"},
    }
    kinds = ("job", "evaluation", "sweep", "study", "file", "batch")
    made: dict[str, list[str]] = {"model": ["echo"], **{kind: [] for kind in kinds}}
    with requests.Session() as session:
        session.trust_env = False
        session.headers["Authorization"] = f"Bearer {server['api_key']}"

        def make(kind: str, path: str, **body: Any) -> str:
            made[kind].append(
                session.post(f"{server['url']}{path}", timeout=10, **body).json()["id"]
            )
            return made[kind][-1]

        for _ in range(8):
            job = make("job", "/v1/jobs", json={"prompts": ["one two", "three"]})
            session.get(f"{server['url']}/v1/jobs/{job}", params={"wait": 10}, timeout=20)
            make("evaluation", f"/v1/jobs/{job}/evaluations", json={"metrics": ["chrf"]})
            study = {"jobs": [job], "kind": "scale", "criteria": ["fluency"]}
            make("study", "/v1/studies", json=study)
            varied = {"temperature": [0, 0.5]}
            make("sweep", "/v1/sweeps", json={"prompts": ["one two"], "sweep": varied})
            file = make(
                "file",
                "/v1/files",
                files={"file": ("a.jsonl", json.dumps(line)), "purpose": (None, "batch")},
            )
            batch = {
                "input_file_id": file,
                "endpoint": "/v1/completions",
                "completion_window": "24h",
            }
            make("batch", "/v1/batches", json=batch)
    return made


def run(stack: Running, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """schemathesis to its end, in a folder of its own."""
    server = stack.server()
    known = make_some_of_each(server)
    lists = "".join(
        f"{name} = {{ values = {json.dumps(values)} }}\n" for name, values in known.items()
    )
    config = folder / "schemathesis.toml"
    config.write_text(f"{SETTINGS.read_text()}\n[dictionaries]\n{lists}")
    command: list[str | Path] = [
        Path(sys.executable).with_name("schemathesis"),
        "--no-color",
        "--config-file",
        config,
        "run",
    ]
    return subprocess.run(
        [*command, f"{server['url']}/openapi.json", *arguments],
        cwd=folder,
        env={**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


@pytest.mark.timeout(LIMIT + 30)
def test_what_the_specification_says_is_so(echo: Running, tmp_path: Path) -> None:
    found = run(echo, tmp_path, "--header", f"Authorization: Bearer {echo.server()['api_key']}")
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.timeout(LIMIT + 30)
def test_without_a_key_the_specification_holds_as_well(echo: Running, tmp_path: Path) -> None:
    # Few examples: without a key an operation looks at nothing else of the request.
    few = ("--phases", "fuzzing", "--mode", "positive", "--max-examples", "10")
    found = run(echo, tmp_path, *few)
    assert found.returncode == 0, found.stdout + found.stderr
