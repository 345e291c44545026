"""The limits of decoding parameters."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from common.params import CELLS, SamplingParams, lacked, not_honoured


@pytest.mark.parametrize(
    "settings",
    [
        {"top_k": 10**400},
        {"top_k": 2**31},
        {"seed": 2**63},
        {"max_tokens": 10**400},
        {"n": 10**400},
        {"repetition_penalty": 1e-39},
        {"repetition_penalty": 0},
        {"temperature": 10**400},
        {"presence_penalty": -(10**400)},
        {"logit_bias": {"1": 10**400}},
        {"logit_bias": {str(10**400): 1}},
        {"stop_token_ids": [10**400]},
        {"no_repeat_ngram_size": 10**400},
        {"logprobs": 10**400},
        {"min_tokens": 10**400},
    ],
)
def test_no_number_is_without_bounds(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SamplingParams.model_validate(settings)


def test_what_is_asked_for_and_not_honoured_is_found_and_defaults_ask_for_nothing() -> None:
    some = tuple(name for name in CELLS if name not in ("typical_p", "stop", "prompt_logprobs"))
    assert lacked(some) == ("stop", "typical_p", "prompt_logprobs")
    assert lacked(frozenset(some)) == lacked(some)
    assert lacked(None) == lacked(frozenset(CELLS)) == ()
    assert lacked(()) == CELLS
    for asked, found in (
        ({}, []),
        ({"typical_p": 1, "stop": [], "prompt_logprobs": None, "top_k": 3}, []),
        ({"typical_p": 0.999}, ["typical_p"]),
        ({"prompt_logprobs": 0}, ["prompt_logprobs"]),
        ({"typical_p": 0.5, "stop": "."}, ["stop", "typical_p"]),
    ):
        params = SamplingParams.model_validate(asked)
        assert not_honoured(params, some) == found, asked
        assert not_honoured(params, None) == []
    whole = SamplingParams.model_validate(dict.fromkeys(("seed", "logprobs")))
    assert not_honoured(whole, ()) == []
