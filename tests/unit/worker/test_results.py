"""What a worker hands in of requests whose texts were scored."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest

from common.generation import Choice, ContinuationScore, Finished, Output
from common.store.packing import unpack
from common.types import ItemState
from worker.held_items import HeldItem
from worker.results import LOWEST_LOGPROB, end_state, handed_back, result

ITEM = HeldItem("job_1", 0, 1, 7, 0.0, time.monotonic())


def stored(finished: Finished) -> Any:
    return unpack(result(ITEM, finished, "worker").blob)


def test_scores_are_stored_without_their_texts() -> None:
    scores = [
        ContinuationScore(-1.23456789, 2, 0.123456789123, 1e-30, None),
        ContinuationScore(-math.inf, 1, 0.0, 0.0, []),
    ]
    finished = Finished("r", prompt_tokens=5, continuations=scores, scored_tokens=4)
    assert end_state(finished) == ItemState.SUCCEEDED
    found = stored(finished)
    assert found["outputs"] == []
    assert found["usage"] == {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}
    assert found["continuations"] == [
        {
            "logprob": -1.234568,
            "token_count": 2,
            "probability": 0.123456789,
            "probability_per_token": 1e-30,
        },
        {
            "logprob": LOWEST_LOGPROB,
            "token_count": 1,
            "probability": 0.0,
            "probability_per_token": 0.0,
            "logprobs": [],
        },
    ]


def test_a_label_is_stored_with_what_it_was_drawn_from() -> None:
    choices = [Choice("a", -0.5, 0.75), Choice("b", -1.5, 0.25)]
    outputs = [Output("a", [3, 2], "stop", choices=choices)]
    found = stored(Finished("r", outputs, 5, scored_tokens=6))
    assert found["outputs"][0]["choices"] == [
        {"text": "a", "logprob": -0.5, "probability": 0.75},
        {"text": "b", "logprob": -1.5, "probability": 0.25},
    ]
    assert found["outputs"][0]["token_count"] == 2
    assert found["usage"]["completion_tokens"] == 6


@pytest.mark.parametrize("reason", ["cancelled", "expired"])
def test_scoring_that_was_stopped_starts_again_from_its_prompt(reason: Any) -> None:
    finished = Finished("r", [Output("", [], reason)], 5)
    assert end_state(finished) == ItemState(reason)
    back = handed_back(ITEM, finished)
    assert (back.state, back.blob) == (ItemState.PENDING, b"")
