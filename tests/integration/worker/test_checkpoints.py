"""Checkpoints keep the tokens of running items, and which items got further in this worker."""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from common.generation import Finished, Output
from common.store.incarnation import MIXED, Incarnation, Progress
from tests.support.store import Mill, done, taken
from worker.checkpoints import MIN_AGE, Checkpoints
from worker.held_items import HeldItem
from worker.results import handed_back


@pytest.fixture
def mill(redis_url: str) -> Mill:
    return Mill(redis_url)


def attempts(
    mill: Mill, tokens: list[list[list[int]]], resumed: int
) -> tuple[int, list[list[int]]]:
    """Lose a worker whose only row stood at each of `tokens` in turn, having begun with `resumed`
    of them; answers the number of the next attempt and where it goes on."""
    job_id, dead = mill.submit(1), mill.worker()
    dead.exchange([], 1)
    claim = replace(HeldItem(job_id, 0, 1, 7, 0.0, time.monotonic() - MIN_AGE - 1), resumed=resumed)
    checkpoints, streams = Checkpoints(), SimpleNamespace(flush=lambda: None)
    for lists in tokens:
        engine = SimpleNamespace(checkpoint=lambda _ids, lists=lists: {"r": lists})
        checkpoints.keep(dead, engine, {"r": claim}, streams)  # type: ignore[arg-type]
    mill.lose(dead)
    mill.tick()
    worker = mill.worker()
    answer = worker.exchange([], 1)
    progress = worker.progress(job_id, 0).tokens
    worker.exchange(done(answer), 0)
    return taken(answer)[0][2], progress


def test_a_row_that_got_further_is_not_charged_and_goes_on_from_there(mill: Mill) -> None:
    assert attempts(mill, [[[1, 2]], [[1, 2, 3]]], resumed=0) == (1, [[1, 2, 3]])


def test_a_resumed_row_that_got_no_further_is_charged(mill: Mill) -> None:
    assert attempts(mill, [[[1, 2, 3]], [[1, 2, 3]]], resumed=3)[0] == 2


def test_a_resumed_row_that_got_further_is_not(mill: Mill) -> None:
    assert attempts(mill, [[[1, 2, 3]], [[1, 2, 3, 4]]], resumed=3) == (1, [[1, 2, 3, 4]])


def leave(
    mill: Mill, worker: Incarnation, item: HeldItem, tokens: list[list[list[int]]], way: str
) -> None:
    """Lose the worker that holds the item, which stood at each of `tokens` in turn, or have it hand
    the item back with the last of them."""
    if way == "lost":
        streams = SimpleNamespace(flush=lambda: None)
        checkpoints = Checkpoints()
        for lists in tokens:  # the second blob has what is new
            engine = SimpleNamespace(checkpoint=lambda _ids, lists=lists: {"r": lists})
            checkpoints.keep(worker, engine, {"r": item}, streams)  # type: ignore[arg-type]
        mill.lose(worker)
        mill.tick()
    else:
        outputs = [Output("", ids, "cancelled") for ids in tokens[-1]]
        worker.exchange([handed_back(item, Finished("r", outputs))], 0)


@pytest.mark.parametrize(
    ("made_under", "goes_on_under", "kept"),
    [
        ("1.9.1", "1.9.1", [[1, 2, 3], [4]]),
        ("1.9.1", "1.10.0", []),
        (None, None, [[1, 2, 3], [4]]),
        (None, "1.9.1", []),
        ("1.9.1", None, []),
    ],
)
@pytest.mark.parametrize("way", ["lost", "handed back"])
def test_what_was_written_under_one_version_of_the_grammar_library_goes_on_under_it_alone(
    mill: Mill, made_under: str | None, goes_on_under: str | None, kept: list[list[int]], way: str
) -> None:
    job_id, first = mill.submit(1), mill.worker()
    first.exchange([], 1)
    item = HeldItem(job_id, 0, 1, 7, 0.0, time.monotonic() - MIN_AGE - 1, guidance=made_under)
    leave(mill, first, item, [[[1], []], [[1, 2, 3], [4]]], way)
    worker = mill.worker()
    answer = worker.exchange([], 1)
    assert answer.runs[0].resumed
    assert worker.progress(job_id, 0, goes_on_under).tokens == kept
    worker.exchange(done(answer), 0)


@pytest.mark.parametrize("kernels", ["", "avx512_bf16-0", MIXED])
@pytest.mark.parametrize("way", ["lost", "handed back"])
def test_what_computed_the_tokens_is_kept_with_them(mill: Mill, kernels: str, way: str) -> None:
    job_id, first = mill.submit(1), mill.worker()
    first.exchange([], 1)
    item = HeldItem(job_id, 0, 1, 7, 0.0, time.monotonic() - MIN_AGE - 1, kernels=kernels)
    leave(mill, first, item, [[[1], []], [[1, 2, 3], [4]]], way)
    worker = mill.worker()
    answer = worker.exchange([], 1)
    assert worker.progress(job_id, 0) == Progress([[1, 2, 3], [4]], kernels)
    worker.exchange(done(answer), 0)
