"""The command that starts a worker: it is complete where this machine knows all that it needs."""

from __future__ import annotations

import pytest

from common.worker_command import DATA, none_yet, worker_command


@pytest.mark.parametrize(
    ("model", "known", "command"),
    [
        # Beside `up`, whose port and password are random.
        ("mine", {"data": "/my data", "ours": "mine"}, "promptmill worker --data '/my data'"),
        (
            "gpt2",
            {"source": "gpt2", "data": "/d", "ours": "mine"},
            "PROMPTMILL_MODEL=gpt2 promptmill worker --data /d",
        ),
        # Elsewhere Redis is the reader's own to name, and a folder, too.
        ("gpt2", {"source": "gpt2"}, "REDIS_URL=… PROMPTMILL_MODEL=gpt2 promptmill worker"),
        (
            "a b",
            {"source": "org/chat"},
            "REDIS_URL=… PROMPTMILL_MODEL=org/chat PROMPTMILL_SERVED_NAME='a b' promptmill worker",
        ),
        (
            "mine",
            {},
            "REDIS_URL=… PROMPTMILL_MODEL=… PROMPTMILL_SERVED_NAME=mine promptmill worker",
        ),
        (
            "llama",
            {"source": "llama", "adapter": "law"},
            (
                "REDIS_URL=… PROMPTMILL_MODEL=llama PROMPTMILL_ENGINE=vllm "
                "PROMPTMILL_ADAPTERS=law=… promptmill worker"
            ),
        ),
        ("", {}, "REDIS_URL=… PROMPTMILL_MODEL=… promptmill worker"),
    ],
)
def test_a_worker_is_started_by_what_is_known_here(
    model: str, known: dict[str, str], command: str
) -> None:
    assert worker_command(model, **known) == command


def test_while_up_loads_its_model_nobody_is_told_to_start_a_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "start a worker" in none_yet()
    monkeypatch.setenv(DATA, "/data")
    assert none_yet().startswith("`promptmill up` is still loading its model")
