"""Laws of reading the form: every field is there, what was typed arrives as typed, and refilling
undoes reading."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.params import OBJECTS, SamplingParams
from web.pages.form import FormErrors, JobFields, place_error, read_job
from web.pages.param_fields import COMMON, param_fields
from web.pages.pasted_prompts import PastedPrompt, as_chat, read_prompts
from web.pages.refill import refill

LINE = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=20)
STOP = st.lists(st.text(st.sampled_from("ab\\nt\n\t "), min_size=1, max_size=8), max_size=4)


def read(typed: dict[str, str]) -> tuple[JobFields, FormErrors]:
    errors = FormErrors()
    return read_job(typed, errors), errors


def test_every_sampling_param_that_is_no_object_is_in_the_form_once() -> None:
    names = [*(field.name for field in param_fields()), *OBJECTS]
    assert sorted(names) == sorted(SamplingParams.model_fields)


def test_common_settings_come_first() -> None:
    names = [field.name for field in param_fields()]
    assert names[: len(COMMON)] == list(COMMON)


def test_an_empty_form_leaves_every_default_to_the_model() -> None:
    job, errors = read(
        {field.input: "" if field.kind == "lines" else " " for field in param_fields()}
    )
    assert job == {}
    assert not errors


def test_each_kind_is_typed_its_own_way() -> None:
    typed = {
        "params.max_tokens": " 12 ",
        "params.temperature": ".5",
        "params.stop": "END\r\n\\n\\n",
        "params.ignore_eos": "on",
        "params.logit_bias": '{"7": -1.5}',
        "model": "echo",
        "metadata.name": "A name",
    }
    job, errors = read(typed)
    assert not errors
    assert job["params"] == {
        "max_tokens": 12,
        "temperature": 0.5,
        "stop": ["END", "\n\n"],
        "ignore_eos": True,
        "logit_bias": {"7": -1.5},
    }
    assert job["model"] == "echo"
    assert job["metadata"] == {"name": "A name"}


@pytest.mark.parametrize(
    ("name", "typed"),
    [
        ("max_tokens", "12.5"),
        ("max_tokens", "1e3"),
        ("max_tokens", "９"),
        ("temperature", "nan"),
        ("temperature", "inf"),
        ("temperature", "1,5"),
        ("temperature", "0x1"),
        ("logit_bias", "{"),
        ("logit_bias", "[" * 100_000),
    ],
)
def test_what_is_no_value_is_said_at_its_field(name: str, typed: str) -> None:
    _, errors = read({f"params.{name}": typed})
    assert list(errors.by_field) == [f"params.{name}"]


def test_one_prompt_a_line() -> None:
    assert list(read_prompts("\r\n one \r\n\ntwo\rthree", "line")) == [
        PastedPrompt("one", 2),
        PastedPrompt("two", 4),
        PastedPrompt("three", 5),
    ]


def test_paragraphs_end_at_empty_lines() -> None:
    assert list(read_prompts("\n\nfirst\n  more\n \nsecond", "blank")) == [
        PastedPrompt("first\n  more", 3),
        PastedPrompt("second", 6),
    ]


@settings(deadline=None)
@given(
    stop=STOP,
    n=st.integers(1, 128),
    temperature=st.floats(0, 100),
    prompts=st.lists(LINE.map(str.strip).filter(bool), min_size=1, max_size=5),
)
def test_refilling_undoes_reading(
    stop: list[str], n: int, temperature: float, prompts: list[str]
) -> None:
    params = {"stop": stop, "n": n, "temperature": temperature}
    typed = refill("echo", params, {"name": "x"}, [{"prompt": prompt} for prompt in prompts])
    job, errors = read(typed)
    assert not errors
    assert job["params"] == {name: value for name, value in params.items() if value != []}
    assert [prompt.text for prompt in read_prompts(typed["prompts"], typed["split"])] == prompts


@settings(deadline=None)
@given(prompts=st.lists(LINE.map(str.strip).filter(bool), min_size=1, max_size=5))
def test_refilling_undoes_asking_as_a_chat(prompts: list[str]) -> None:
    rows = [as_chat({"prompt": prompt}) for prompt in prompts]
    typed = refill("echo", {}, {}, rows)
    assert typed["reads"] == "chat"
    assert [prompt.text for prompt in read_prompts(typed["prompts"], typed["split"])] == prompts
    assert "prompts" not in refill("echo", {}, {}, [*rows, {"prompt": "no chat"}])


@pytest.mark.parametrize(
    "item", [{"prompt": ""}, {"prompt": None}, {"messages": []}, "text", None, 3, {}]
)
def test_only_prompts_are_asked_as_a_chat(item: object) -> None:
    assert as_chat(item) is item


def test_prompts_that_cannot_be_typed_are_not_refilled() -> None:
    for prompt in ("a\n\nb", " padded", None):
        rows: list[Any] = [{"prompt": prompt}, {"prompt": "fine"}]
        assert "prompts" not in refill("echo", {}, {}, rows)


@pytest.mark.parametrize(
    ("entry", "place", "message"),
    [
        (
            {"field": "params.top_p", "message": "params.top_p must be at most 1"},
            "params.top_p",
            "must be at most 1",
        ),
        (
            {"field": "params.stop.0", "message": "params.stop.0 is long"},
            "params.stop",
            "params.stop.0 is long",
        ),
        (
            {"field": "promt", "message": "promt is not known; did you mean prompt?", "line": 3},
            "prompts",
            "Line 3: promt is not known; did you mean prompt?",
        ),
        (
            {"field": "colour", "message": "colour is not known"},
            "",
            "colour is not known",
        ),
        ({"field": "model", "message": "no such model"}, "model", "no such model"),
        ({"field": "params.n", "message": "too many", "line": 4}, "prompts", "Line 4: too many"),
        ({"field": "items", "message": "empty"}, "prompts", "empty"),
        ({"field": "metadata.name", "message": "too long"}, "metadata.name", "too long"),
        ({"message": "something"}, "", "something"),
    ],
)
def test_errors_find_their_field(entry: dict, place: str, message: str) -> None:
    errors = FormErrors()
    place_error(errors, entry, "prompts")
    assert errors.by_field == {place: [message]}
