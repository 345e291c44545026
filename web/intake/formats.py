"""Whether the output formats of a job's items can be had: from its model, beside its other
parameters, and within max_tokens."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import NamedTuple

from pydantic_core import to_json

from common.errors import ErrorDict, InvalidRequest
from common.params import SamplingParams
from common.structured.output_format import OutputFormat
from common.structured.tool_grammar import item_grammar
from common.structured.tool_prompt import ToolFormat
from common.structured.tools import ToolSet
from common.types import ModelCard
from web.intake.faults import Fault
from web.services.grammars import Grammars
from web.services.models import Model

MOST_FORMATS = 1000  # different ones, of a job
LONGEST_TOKEN = 2048  # characters, where the model's tokenizer is not known
MOST_SECONDS = 20.0  # that building the grammars of a job may take

FIELD = "params.output"
# What would end the text where its format does not, or keep it from ending where that does.
ENDS = ("stop", "stop_token_ids", "ignore_eos", "min_tokens")


class Calls(NamedTuple):
    """The functions that an answer may call, and how its model writes calls."""

    tools: ToolSet
    form: ToolFormat


@dataclass(frozen=True)
class _Checked:
    """What is known of a format: why it cannot be had, or the fewest tokens that a text of it
    has."""

    error: ErrorDict | None = None
    least: int = 0


class Formats:
    """The output formats of one job; each different one is checked once. `any_json` says whether
    one of them is JSON, `any_own` whether an item has one."""

    def __init__(self, grammars: Grammars, tenant: str, model: Model):
        self._grammars = grammars
        self._tenant = tenant
        self._card = model.card
        self._longest = model.tokenizer.longest if model.tokenizer else LONGEST_TOKEN
        self._known: dict[bytes, _Checked] = {}
        self._last: tuple[OutputFormat | None, _Checked] | None = (
            None  # mostly that of the next item, too
        )
        self._seconds = 0.0
        self.any_json = self.any_own = False

    def check_job(self, params: SamplingParams) -> None:
        """Check the job's own parameters: before its items, and other parameters of the same items
        after them.

        Raises:
            InvalidRequest: its model cannot do what they ask, or they cannot go together.
            Unavailable: as many formats wait for their check as may.
        """
        try:
            if self._check(params) is None and self.any_own:
                _refuse_ends(params)
        except Fault as fault:
            message = str(fault)
            raise InvalidRequest(message, code=fault.code, field=fault.field) from None

    def check_item(
        self,
        params: SamplingParams,
        max_tokens: int,
        is_own: bool,
        calls: Calls | None = None,
    ) -> None:
        """Check the parameters of an item, over the job's. `max_tokens` is what takes effect; the
        format `is_own` if the job does not give it; its answer may have `calls`.

        Raises:
            Fault: as `check_job`, or no text of the format fits.
            InvalidRequest: the job has too many formats.
            Unavailable: as many formats wait for their check as may.
        """
        checked = self._check(params, calls)
        if checked is None:
            return
        self.any_own = self.any_own or is_own
        if checked.least > max_tokens:
            raise Fault("out_of_range", "params.max_tokens", _too_few(params, max_tokens, checked))

    def _check(self, params: SamplingParams, calls: Calls | None = None) -> _Checked | None:
        """What is known of the format; None where any text will do."""
        if params.thinking is not None and "thinking" not in self._card.features:
            message = f"{self._card.id} does not think before it answers: leave thinking out"
            raise Fault("unsupported", "params.thinking", message)
        output = params.output
        if output is not None and output.kind == "text":
            output = None
        if output is None and not (calls and calls.tools.binds):
            return None
        field = "tools" if output is None else FIELD
        if "structured_output" not in self._card.features:
            raise Fault("unsupported", field, _no_output(self._card, field))
        _refuse_ends(params, field)
        if calls is not None or self._last is None or self._last[0] is not output:
            self._last = output, self._known_or_new(output, calls)
        checked = self._last[1]
        if error := checked.error:
            raise Fault(error["code"], error.get("field", field), error["message"])
        if calls is None and output is not None:
            self.any_json = self.any_json or output.kind in ("json_schema", "json")
        return checked

    def _known_or_new(self, output: OutputFormat | None, calls: Calls | None) -> _Checked:
        tools = to_json(calls.tools) if calls else b""
        key = hashlib.sha256(to_json(output) + tools).digest()
        checked = self._known.get(key)
        if checked is None:
            self._refuse_too_many()
            checked = self._known[key] = self._new(output, calls)
        return checked

    def _refuse_too_many(self) -> None:
        if len(self._known) >= MOST_FORMATS:
            message = (
                f"the items have more than {MOST_FORMATS:,} different output formats; split the job"
            )
            raise InvalidRequest(message, code="too_many_formats", field=FIELD)
        if self._seconds > MOST_SECONDS:
            message = (
                f"checking the first {len(self._known):,} output formats took more than "
                f"{MOST_SECONDS:.0f} seconds; make them simpler, or split the job"
            )
            raise InvalidRequest(message, code="too_many_formats", field=FIELD)

    def _new(self, output: OutputFormat | None, calls: Calls | None) -> _Checked:
        try:
            grammar = item_grammar(
                output, calls.tools if calls else None, calls.form if calls else "generic"
            )
        except InvalidRequest as error:
            return _Checked(error.as_dict())
        if grammar is None:
            return _Checked()
        verdict = self._grammars.check(self._tenant, grammar)
        self._seconds += verdict.seconds
        return _Checked(verdict.error, grammar.least_tokens(self._longest))


def _refuse_ends(params: SamplingParams, field: str = FIELD) -> None:
    what = "tools that are called by a grammar" if field == "tools" else "output"
    for name in ENDS:
        if getattr(params, name):
            message = (
                f"{name} cannot go with {what}: the format says where the text ends. Leave one of "
                "them out"
            )
            raise Fault("invalid_value", f"params.{name}", message)


def _no_output(card: ModelCard, field: str) -> str:
    without = "leave output out"
    if field == "tools":
        without = "let the model choose whether it calls (auto), without strict"
    return (
        f"engine {card.engine}, which runs {card.id}, has no structured output: {without}, or take "
        "another model"
    )


def _too_few(params: SamplingParams, max_tokens: int, checked: _Checked) -> str:
    whose = "max_tokens is"
    if "max_tokens" not in params.model_fields_set:
        whose = "max_tokens, which was not given, is"
    return (
        f"{whose} {max_tokens:,}, but a text of this output format has at least "
        f"{checked.least:,} tokens"
    )
