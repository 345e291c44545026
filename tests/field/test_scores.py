"""Scores and probabilities of a whole stack beside those that OpenAI's API gives of the same texts,
as echo with log-probabilities."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest

from cli.client import Client
from cli.progress import show_progress
from cli.valkey import free_port
from tests.field.byte_model import END
from tests.support.processes import ROOT
from tests.support.up import Running
from tests.support.waiting import wait_until

# One the beginning of another, equal first tokens, spaces in front, several scripts.
LABELS = ["yes", "yes, sir", " yes", " no", "no", "Ja", "日本", "日"]
PROMPTS = ["Is the sea blue? ", "x" * 300, "日本語:", "a"]


def ran(client: Client, items: list[dict[str, Any]], **params: Any) -> list[dict[str, Any]]:
    job = client.submit({"model": "bytes", "items": items, "params": params})
    assert show_progress(client, job["id"])["status"] == "completed"
    rows = list(client.items(job["id"]))
    assert [row["status"] for row in rows] == ["succeeded"] * len(items), rows[0]["error"]
    return rows


def behind(api: openai.OpenAI, prompt: str, text: str) -> list[float]:
    """The log-probabilities of a text's tokens behind a prompt, by echo."""
    found = api.completions.create(
        model="bytes", prompt=prompt + text, max_tokens=1, echo=True, logprobs=0, temperature=0
    )
    told = found.choices[0].logprobs
    assert told and told.token_logprobs and found.usage
    given = told.token_logprobs[: found.usage.prompt_tokens]
    return [each for each in given[len(prompt.encode()) :] if each is not None]


def softmax(logprobs: list[float]) -> list[float]:
    weights = [math.exp(each - max(logprobs)) for each in logprobs]
    return [each / sum(weights) for each in weights]


@pytest.fixture(scope="module", params=["alone", "in company"])
def company(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """Items that run beside those of a test."""
    few = {"max_tokens": 30, "temperature": 1.0}
    return [{"prompt": "b" * n, "params": few} for n in range(1, 12)] * (
        request.param == "in company"
    )


def test_continuations_are_scored_as_echo_does(
    client: Client, openai_client: openai.OpenAI, company: list[dict[str, Any]]
) -> None:
    items = [{"prompt": prompt, "continuations": LABELS} for prompt in PROMPTS]
    rows = ran(client, company + items)[len(company) :]
    for prompt, row in zip(PROMPTS, rows, strict=True):
        expected = [behind(openai_client, prompt, label) for label in LABELS]
        found = row["continuations"]
        assert [each["text"] for each in found] == LABELS
        sums = [sum(each) for each in expected]
        assert [each["logprob"] for each in found] == pytest.approx(sums, abs=1e-3)
        assert [each["probability"] for each in found] == pytest.approx(softmax(sums), abs=1e-3)
        means = [sum(each) / len(each) for each in expected]
        shares = [each["probability_per_token"] for each in found]
        assert shares == pytest.approx(softmax(means), abs=1e-3)
        tokens = [len(label.encode()) for label in LABELS]
        assert [each["token_count"] for each in found] == tokens
        usage = {"prompt_tokens": len(prompt.encode()), "completion_tokens": sum(tokens)}
        assert usage.items() <= row["usage"].items()


def test_choice_probabilities_are_those_of_whole_labels_with_their_end(
    client: Client, openai_client: openai.OpenAI, company: list[dict[str, Any]]
) -> None:
    params = {"output": {"choice": LABELS, "probabilities": True}, "temperature": 0}
    items = [{"prompt": prompt, "params": params} for prompt in PROMPTS]
    rows = ran(client, company + items)[len(company) :]
    for prompt, row in zip(PROMPTS, rows, strict=True):
        sums = [sum(behind(openai_client, prompt, label + END)) for label in LABELS]
        (output,) = row["outputs"]
        found = [each["probability"] for each in output["choices"]]
        assert found == pytest.approx(softmax(sums), abs=1e-3)
        assert sum(found) == pytest.approx(1, abs=1e-6)
        assert [each["logprob"] for each in output["choices"]] == pytest.approx(sums, abs=1e-3)
        assert output["text"] == LABELS[found.index(max(found))]
        assert output["finish_reason"] == "stop"


def test_the_perplexity_of_a_text_is_that_of_echo(
    client: Client, openai_client: openai.OpenAI
) -> None:
    text = "The sea is blue. 海は青い。"
    (row,) = ran(client, [{"prompt": "", "continuations": [text]}], logprobs=1)
    (found,) = row["continuations"]
    expected = behind(openai_client, "", text)
    assert found["token_count"] == len(expected) == len(text.encode()) - 1
    assert found["logprob"] == pytest.approx(sum(expected), abs=1e-3)
    first, *others = [each["logprob"] for each in found["logprobs"]]
    assert first is None and others == pytest.approx(expected, abs=1e-3)


def test_a_chat_is_scored_behind_the_models_own_template(
    client: Client, openai_client: openai.OpenAI
) -> None:
    chat = {"messages": [{"role": "user", "content": "Hi"}], "continuations": ["a", "bc"]}
    (row,) = ran(client, [chat])
    rendered = "user: Hi\nassistant:"
    expected = [sum(behind(openai_client, rendered, text)) for text in ("a", "bc")]
    assert [each["logprob"] for each in row["continuations"]] == pytest.approx(expected, abs=1e-3)


def test_drawn_labels_and_streams_of_them_are_the_same_for_a_seed(client: Client) -> None:
    params = {"output": {"choice": LABELS, "probabilities": True}, "seed": 4, "n": 8}
    one, other = ran(client, [{"prompt": "a"}, {"prompt": "a", "stream": True}], **params)
    texts = [output["text"] for output in one["outputs"]]
    assert texts == [output["text"] for output in other["outputs"]]
    assert set(texts) <= set(LABELS) and len(set(texts)) > 1


def test_the_example_sorts_lines_into_labels(stack: Running) -> None:
    server = stack.server()
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "classify.py", "praise", "complaint"],
        env={
            **os.environ,
            "NO_PROXY": "127.0.0.1",
            "PROMPTMILL_URL": server["url"],
            "PROMPTMILL_API_KEY": server["api_key"],
        },
        input="It broke.\n\nVery nice!\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [text for *_, text in rows] == ["It broke.", "Very nice!"]
    assert all(label in ("praise", "complaint") for label, *_ in rows)
    assert all(0.5 <= float(probability) <= 1 for _, probability, _ in rows)


@pytest.mark.timeout(300)  # starts a whole stack, and a worker again
def test_scores_come_out_the_same_when_their_worker_is_killed_or_the_job_paused(
    up: Callable[..., Running], byte_model: Path
) -> None:
    arguments = ("--model", str(byte_model), "--port", str(free_port()))
    settings = {"PROMPTMILL_DTYPE": "float32", "PROMPTMILL_SLOTS": "3"}
    running = up(*arguments, **settings).wait_until_ready()
    client = running.client()
    items = [
        {"prompt": f"{n}: {'x' * 7 * n}", "continuations": [f"{m} {'ab' * 40}" for m in range(24)]}
        for n in range(12)
    ]
    job = client.submit({"model": "bytes", "items": items})["id"]
    undisturbed = finished(client, job)

    job = client.submit({"model": "bytes", "items": items})["id"]
    wait_until(lambda: client.job(job)["counts"]["succeeded"] > 0)
    worker = next(each for each in running.processes() if "worker" in each.cmdline())
    worker.kill()
    assert client.job(job)["counts"]["pending"] + client.job(job)["counts"]["running"] > 0
    killed = finished(client, job)

    job = client.submit({"model": "bytes", "items": items})["id"]
    wait_until(lambda: client.job(job)["counts"]["succeeded"] > 0)
    client._call("POST", f"/v1/jobs/{job}/pause")
    wait_until(lambda: client.job(job)["counts"]["running"] == 0)
    assert client.job(job)["counts"]["pending"] > 0
    client._call("POST", f"/v1/jobs/{job}/resume")
    paused = finished(client, job)

    for found in (killed, paused):
        for one, same in zip(undisturbed, found, strict=True):
            assert one == pytest.approx(same, abs=1e-4)


def finished(client: Client, job: str) -> list[list[float]]:
    """The log-probabilities of a job's continuations, once it is over."""
    assert show_progress(client, job)["status"] == "completed"
    rows = list(client.items(job))
    assert {row["status"] for row in rows} == {"succeeded"}
    return [[each["logprob"] for each in row["continuations"]] for row in rows]
