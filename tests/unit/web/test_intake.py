"""The checks of items without Redis: counting, fitting, adding up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.chat_template import ChatTemplate
from common.settings import Settings
from common.tokenizer import WordTokenizer
from common.types import ModelCard
from web.intake.check import Intake
from web.intake.drafts import Draft, from_items, from_prompts
from web.intake.formats import Formats
from web.schemas.requests import JobOptions
from web.services.grammars import Grammars
from web.services.models import Model

CONTEXT = 50


def intake(counted: bool = True, template: ChatTemplate | None = None, **job: Any) -> Intake:
    about = {
        "id": "m",
        "digest": "d",
        "engine": "echo",
        "device": "cpu",
        "dtype": "none",
        "tokenizer": "words",
    }
    card = ModelCard.model_validate(about | {"context": CONTEXT, "slots": 8, "created": 0})
    model = Model(card, WordTokenizer() if counted else None, template)
    return Intake(
        model,
        JobOptions.model_validate(job),
        Settings(),
        Formats(Grammars(), "acme", model),
    )


@given(st.lists(st.integers(1, CONTEXT + 5), min_size=1, max_size=200))
def test_totals_are_the_sums_over_items(lengths: list[int]) -> None:
    checked = intake()
    records = list(checked.accept(from_prompts("w " * length for length in lengths)))
    fitting = [length for length in lengths if length < CONTEXT]
    assert len(checked.faults) == min(100, len(lengths) - len(fitting))
    if len(fitting) == len(lengths):
        assert len(records) == len(lengths)
        assert checked.totals.prompt_tokens == sum(lengths)
        assert checked.totals.max_prompt_tokens == max(lengths)
        assert checked.totals.max_completion_tokens == sum(CONTEXT - length for length in lengths)


@given(st.integers(1, CONTEXT - 1), st.integers(1, CONTEXT))
def test_an_explicit_max_tokens_fits_or_is_refused_and_never_changed(
    length: int, max_tokens: int
) -> None:
    checked = intake(params={"max_tokens": max_tokens})
    records = list(checked.accept(from_prompts(["w " * length])))
    assert bool(checked.faults) is (length + max_tokens > CONTEXT)
    assert all("params" not in record for record, _ in records)


def test_where_only_the_worker_can_count_length_is_not_judged() -> None:
    checked = intake(counted=False)
    ((record, _),) = checked.accept(from_prompts(["w " * 1000]))
    assert record == {"prompt": "w " * 1000}
    assert not checked.faults


class Slow(ChatTemplate):
    """Tells when it renders."""

    def __init__(self, told: list[str]):
        super().__init__("", {})
        self._told = told

    def render(self, messages: Any, kwargs: Any = None, at: Any = None, tools: Any = ()) -> str:
        self._told.append(f"render {messages[0]['content']}")
        return "text"


def test_a_draft_is_taken_when_the_one_before_it_was_rendered() -> None:
    """A batch's drafts renew the claim on it between two of them: a chunk of slow ones must not
    keep them from it."""
    told: list[str] = []

    def drafts() -> Iterator[Draft]:
        for n in range(3):
            told.append(f"draft {n}")
            yield Draft({"messages": [{"role": "user", "content": str(n)}]})

    checked = intake(template=Slow(told))
    assert len(list(checked.accept(drafts()))) == 3
    assert told == ["draft 0", "render 0", "draft 1", "render 1", "draft 2", "render 2"]


@pytest.mark.parametrize(
    ("job", "item", "words", "refused"),
    [
        ({}, {"min_tokens": 11, "max_tokens": 10}, 1, True),
        ({}, {"min_tokens": 10, "max_tokens": 10}, 1, False),
        ({"min_tokens": 11}, {"max_tokens": 10}, 1, True),
        ({"max_tokens": 10}, {"min_tokens": 11}, 1, True),
        ({"min_tokens": 11, "max_tokens": 10}, {"max_tokens": 11}, 1, False),
        ({"min_tokens": 6}, {}, CONTEXT - 5, True),
        ({"min_tokens": 5}, {}, CONTEXT - 5, False),
    ],
)
def test_min_tokens_are_no_more_than_max_tokens_as_they_take_effect(
    job: dict[str, int], item: dict[str, int], words: int, refused: bool
) -> None:
    checked = intake(params=job)
    list(checked.accept(from_items([{"prompt": "w " * words, "params": item}])))
    assert [(entry["code"], entry["field"]) for entry in checked.faults] == [
        ("out_of_range", "items.0.params.min_tokens")
    ] * refused


def test_an_items_params_go_over_the_jobs() -> None:
    checked = intake(params={"n": 4, "max_tokens": 5})
    list(checked.accept(from_items([{"prompt": "a"}, {"prompt": "a", "params": {"n": 2}}])))
    assert checked.totals.max_completion_tokens == 4 * 5 + 2 * 5


def test_faults_are_told_in_the_order_of_the_items() -> None:
    checked = intake(params={"max_tokens": 10})
    prompts = ["", "w " * 45, "", "w " * 60, "good"]
    assert list(checked.accept(from_prompts(prompts))) == []
    assert [fault["field"] for fault in checked.faults] == [
        "prompts.0",
        "prompts.1",
        "prompts.2",
        "prompts.3",
    ]


def test_nothing_more_is_read_after_a_hundred_faults() -> None:
    read = 0

    def prompts() -> Any:
        nonlocal read
        while True:
            read += 1
            yield ""

    checked = intake()
    list(checked.accept(from_prompts(prompts())))
    assert len(checked.faults) == 100
    assert read <= 128
