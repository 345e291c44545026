"""Building grammars: what can be honoured, what takes too much, and who waits for whom."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from common.errors import InvalidRequest, Unavailable
from common.structured.output_format import OutputFormat
from tests.support.cards import card
from web.intake import formats
from web.intake.faults import Fault
from web.schemas.requests import Item
from web.services import grammar_process
from web.services.grammars import MOST_KNOWN, Asked, Grammars, Verdict
from web.services.models import Model

GOOD = {"choice": ["yes", "no"]}


# A builder that the expression `slow…` keeps busy for ever, as a fault of the library would.
SLOW_BUILDER = """
from web.services import grammar_builder

built = grammar_builder._built


def slow(guide, asked):
    while str(asked["output"].get("regex")).startswith("slow"):
        pass
    return built(guide, asked)


grammar_builder._built = slow
grammar_builder.main()
"""


@pytest.fixture
def slow_builder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "slow_builder.py").write_text(SLOW_BUILDER)
    monkeypatch.setattr(grammar_process, "MODULE", "slow_builder")
    monkeypatch.setattr(grammar_process, "ROOT", f"{tmp_path}:{grammar_process.ROOT}")


def grammar(output: Any) -> Asked:
    return Asked(OutputFormat.model_validate(output))


class Counted(Grammars):
    """Counts what it builds."""

    def __init__(self) -> None:
        super().__init__()
        self.built = 0

    def _built(self, asked: Asked) -> Verdict:
        self.built += 1
        return super()._built(asked)


def test_a_grammar_is_built_once_and_known_then() -> None:
    grammars = Counted()
    for tenant in ("a", "b"):
        assert grammars.check(tenant, grammar(GOOD)).error is None
    assert grammars.built == 1
    bad = [grammars.check(tenant, grammar({"regex": "(?=a)"})) for tenant in ("a", "b")]
    assert [verdict.error and verdict.error["code"] for verdict in bad] == ["invalid_grammar"] * 2
    assert grammars.built == 2


@pytest.mark.usefixtures("slow_builder")
def test_what_takes_too_long_is_refused_within_seconds_and_others_are_built_then() -> None:
    grammars = Grammars()
    grammars.check("a", grammar(GOOD))
    verdict = grammars.check("a", grammar({"regex": "slow"}))
    assert verdict.error and "too much time or memory" in verdict.error["message"]
    assert verdict.seconds == grammar_process.SECONDS
    assert grammars.check("a", grammar({"regex": "slow"})).seconds == 0
    assert grammars.check("a", grammar({"choice": ["other"]})).error is None


@pytest.mark.usefixtures("slow_builder")
def test_beside_one_that_takes_long_another_tenants_are_built() -> None:
    grammars = Grammars()
    grammars.check("b", grammar(GOOD))
    ended = threading.Event()

    def hold_up() -> None:
        for at in range(3):
            grammars.check("a", grammar({"regex": f"slow{at}"}))
        ended.set()

    thread = threading.Thread(target=hold_up)
    thread.start()
    time.sleep(0.2)
    for at in range(5):
        assert grammars.check("b", grammar({"choice": [f"c{at}"]})).error is None
    before_its_end = not ended.is_set()
    thread.join(60)
    assert before_its_end


@pytest.mark.parametrize(
    "output",
    [
        {"json_schema": {"$ref": "#"}},
        {"json_schema": {"enum": []}},
        {"json_schema": {"type": "string", "minLength": 3, "maxLength": 2}},
        {"json_schema": False},
    ],
)
def test_what_no_text_can_be_is_refused(output: Any) -> None:
    try:
        found = grammar(output)
    except ValueError:
        return  # refused as no format
    verdict = Grammars().check("a", found)
    assert verdict.error and verdict.error["code"] == "invalid_grammar", verdict


def test_as_many_as_are_kept_are_known_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.services.grammars.MOST_KNOWN", 3)
    assert MOST_KNOWN > 3
    grammars = Counted()
    labels = [grammar({"choice": [f"label {at}"]}) for at in range(4)]
    for each in labels:
        grammars.check("a", each)
    grammars.check("a", labels[3])
    assert grammars.built == 4
    grammars.check("a", labels[0])
    assert grammars.built == 5


def test_a_process_that_does_not_answer_is_ended_and_the_request_may_be_tried_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "sleeper.py").write_text("import time\ntime.sleep(60)\n")
    for name, value in (("PATIENCE", 0.2), ("MODULE", "sleeper"), ("ROOT", tmp_path)):
        monkeypatch.setattr(grammar_process, name, value)
    process = grammar_process.GrammarProcess()
    with pytest.raises(Unavailable, match="try again"):
        process.build(grammar(GOOD).line)
    assert process._process.poll() is not None


def test_a_process_that_cannot_start_is_no_fault_of_the_grammar(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(grammar_process, "MODULE", "web.services.no_such_module")
    grammars = Grammars()
    with pytest.raises(Unavailable):
        grammars.check("a", grammar(GOOD))
    monkeypatch.undo()
    assert grammars.check("a", grammar(GOOD)).error is None


@pytest.mark.usefixtures("slow_builder")
def test_a_job_whose_formats_take_long_together_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "MOST_SECONDS", 0.9)
    able = card("able", engine="native", features=["structured_output"])
    checks = formats.Formats(Grammars(), "a", Model(able, None, None))
    for at in range(2):
        with pytest.raises(Fault, match="too much time or memory"):
            check_regex(checks, f"slow{at}")
    with pytest.raises(InvalidRequest, match="split the job") as refused:
        check_regex(checks, "fast")
    assert refused.value.code == "too_many_formats"
    with pytest.raises(Fault):  # which is known
        check_regex(checks, "slow1")


def check_regex(checks: formats.Formats, regex: str) -> None:
    item = Item.model_validate({"prompt": "a", "params": {"output": {"regex": regex}}})
    assert item.params
    checks.check_item(item, item.params, 256)
