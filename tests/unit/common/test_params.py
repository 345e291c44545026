"""The limits of decoding parameters."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from common.params import SamplingParams


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
