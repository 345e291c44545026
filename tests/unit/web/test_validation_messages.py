"""Messages say what, where and how to put it right; they never say what was sent."""

from __future__ import annotations

import time
from typing import Any

import pytest
from pydantic import ValidationError

from common.errors import ErrorDict
from common.params import OTHER_NAMES, SamplingParams
from web.intake.validation_messages import SAYINGS, explain
from web.schemas.preparation import MOST_TEMPLATE_BYTES
from web.schemas.requests import Item, JobOptions


def explained(value: Any, model: Any = JobOptions) -> list[ErrorDict]:
    with pytest.raises(ValidationError) as error:
        model.model_validate(value)
    return explain(error.value, model)


def test_one_mistake_is_one_message() -> None:
    (entry,) = explained({"webhook": {"url": "https://x.example", "events": ["job.done"]}})
    assert (
        entry["message"]
        == "webhook.events.0 must be 'job.started', 'job.finished' or 'evaluation.finished'"
    )
    (entry,) = explained({"webhook": {"url": "https://x.example", "events": []}})
    assert entry["message"] == "webhook.events must not be empty"


def test_bounds_are_told_exactly() -> None:
    (entry,) = explained({"params": {"seed": 2**63}})
    assert entry["message"] == "params.seed must be at most 9223372036854775807"
    (entry,) = explained({"params": {"top_p": 1.5}})
    assert entry["message"] == "params.top_p must be at most 1, not 1.5"


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_every_other_name_is_answered_with_ours(name: str) -> None:
    (entry,) = explained({"params": {name: 1}})
    assert OTHER_NAMES[name] in str(entry["message"])


@pytest.mark.parametrize("name", SamplingParams.model_fields)
def test_every_setting_at_the_wrong_level_is_sent_inside_params(name: str) -> None:
    (entry,) = explained({name: 1})
    assert entry["message"] == f"{name} belongs inside params"


@pytest.mark.parametrize("name", SamplingParams.model_fields)
@pytest.mark.parametrize("value", ["x", [], {"a": []}, -1, 1e300, 10**400, True])
def test_every_wrong_value_of_a_setting_has_words_of_its_own(name: str, value: Any) -> None:
    try:
        SamplingParams.model_validate({name: value})
    except ValidationError as refusal:
        error = refusal
    else:
        return
    assert {details["type"] for details in error.errors()} <= {*SAYINGS, "extra_forbidden"}
    assert all(
        "Input should" not in str(entry["message"]) for entry in explain(error, SamplingParams)
    )


def test_a_value_of_metadata_has_one_message_for_all_the_types_it_might_be() -> None:
    assert explained({"prompt": "a", "metadata": {"k": []}}, Item) == [
        {
            "code": "wrong_type",
            "message": "metadata.k must be text, a number, true, false or null",
            "field": "metadata.k",
        }
    ]


def test_a_hundred_thousand_wrong_fields_cost_no_more_than_a_hundred() -> None:
    began = time.monotonic()
    assert len(explained({f"field{index}": 1 for index in range(100_000)})) == 100
    assert time.monotonic() - began < 5


def test_a_name_as_long_as_a_book_is_cut() -> None:
    (entry,) = explained({"x" * 100_000: 1})
    assert len(str(entry)) < 1000


def test_a_name_that_truncate_or_a_template_does_not_know_is_answered_with_theirs() -> None:
    (entry,) = explained({"truncate": {"to": 5, "x": 1}})
    assert entry["message"] == "truncate.x is not known; known are to, keep, variable"
    (entry,) = explained({"template": {"prompt": "a", "x": 1}})
    assert entry["message"] == "template.x is not known; known are prompt, messages"


def test_a_template_may_have_so_many_bytes_as_it_is_sent_and_no_more() -> None:
    around = len('{"prompt":""}')
    JobOptions.model_validate({"template": {"prompt": "a" * (MOST_TEMPLATE_BYTES - around)}})
    (entry,) = explained({"template": {"prompt": "a" * (MOST_TEMPLATE_BYTES - around + 1)}})
    assert entry["message"] == "template has 131,073 bytes as JSON; it may have 131,072"
