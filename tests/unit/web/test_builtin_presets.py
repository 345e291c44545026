"""The built-in presets: valid, complete, and of use as they are."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from web.intake.presets import BUILTIN, builtin_preset
from web.schemas.presets import MOST_BODY, name_fault
from web.schemas.requests import Item

VARIABLE = re.compile(r"\{\{ *(\w+) *\}\}")


def texts(name: str) -> list[str]:
    """The texts of a preset's template."""
    template = builtin_preset(name).body.template
    assert template is not None
    return [template.prompt or "", *(each.content for each in template.messages or [])]


def test_each_file_is_a_preset_and_each_preset_a_file() -> None:
    folder = files("web.intake") / "builtin"
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        f"{name}.toml" for name in BUILTIN
    )


@pytest.mark.parametrize("name", BUILTIN)
def test_a_built_in_preset_keeps_to_what_others_must(name: str) -> None:
    preset = builtin_preset(name)
    assert name_fault(name) is None
    assert preset.body.task == name
    assert len(preset.body.model_dump_json()) < MOST_BODY
    assert preset.body.metrics


@pytest.mark.parametrize("name", BUILTIN)
def test_the_examples_give_exactly_the_variables_of_the_template(name: str) -> None:
    named = {each for text in texts(name) for each in VARIABLE.findall(text)}
    examples = builtin_preset(name).body.examples
    assert len(examples) >= 2
    for example in examples:
        assert set(example.vars) == named
        assert all(str(value).strip() for value in example.vars.values())


@pytest.mark.parametrize("name", BUILTIN)
def test_an_example_can_be_sent_as_an_item(name: str) -> None:
    for example in builtin_preset(name).body.examples:
        Item.model_validate(example.model_dump(exclude_unset=True))


@pytest.mark.parametrize("name", BUILTIN)
def test_no_text_begins_or_ends_with_a_blank_line_by_accident(name: str) -> None:
    for text in filter(None, texts(name)):
        assert text == text.strip()
