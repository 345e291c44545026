"""Whether the output formats of a job's items can be had: from its model, beside its other
parameters, and within max_tokens."""

from __future__ import annotations

from common.errors import InvalidRequest
from common.params import SamplingParams
from common.structured.output_format import OutputFormat
from common.structured.tool_prompt import ToolFormat
from common.structured.tools import ToolSet
from common.types import ModelCard
from web.intake.faults import Fault
from web.schemas.requests import Item
from web.services.grammars import Asked, Grammars, Verdict
from web.services.models import Model

MOST_FORMATS = 1000  # different ones, of a job
LONGEST_TOKEN = 2048  # characters, where the model's tokenizer is not known
MOST_SECONDS = 20.0  # of processor time that checking those of a job may take

FIELD = "params.output"
# What would end the text where its format does not, or keep it from ending where that does.
ENDS = ("stop", "stop_token_ids", "ignore_eos", "min_tokens")


class Formats:
    """The output formats of one job, and the calls that its items' tools ask for; each different
    one is checked once. `any_json` says whether one of them is JSON, `any_own` whether an item has
    one."""

    def __init__(self, grammars: Grammars, tenant: str, model: Model):
        self._grammars = grammars
        self._tenant = tenant
        self._model = model
        self._longest = model.tokenizer.longest if model.tokenizer else LONGEST_TOKEN
        self._known: dict[bytes, Verdict] = {}
        # Mostly that of the next item, too.
        self._last: tuple[OutputFormat | None, ToolSet | None, Verdict] | None = None
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
            if self._check(params, None) is None and self.any_own:
                _refuse_ends(params, FIELD)
        except Fault as fault:
            raise fault.of_job() from None

    def check_item(self, item: Item, params: SamplingParams, max_tokens: int) -> None:
        """Check the parameters of an item, which are its own over the job's. `max_tokens` is what
        takes effect.

        Raises:
            Fault: as `check_job`, or no text of the format fits.
            InvalidRequest: the job has too many formats.
            Unavailable: as many formats wait for their check as may.
        """
        found = self._check(params, item.tools)
        if found is None:
            return
        own = item.params is not None and item.params.output is not None
        self.any_own = self.any_own or own or item.tools is not None
        least = -(-found.least // self._longest)
        if least > max_tokens:
            raise Fault("out_of_range", "params.max_tokens", _too_few(params, max_tokens, least))

    def _check(self, params: SamplingParams, tools: ToolSet | None) -> Verdict | None:
        """What is known of the format; None where any text will do."""
        if params.thinking is not None and "thinking" not in self._model.card.features:
            message = f"{self._model.card.id} does not think: leave params.thinking out"
            raise Fault("unsupported", "params.thinking", message)
        output = params.output if params.output and params.output.kind != "text" else None
        # Labels that are scored are not written.
        if (output is None and not (tools and tools.binds)) or params.scored_labels is not None:
            return None
        field = "tools" if output is None else FIELD
        if "structured_output" not in self._model.card.features:
            raise Fault("unsupported", field, _no_output(self._model.card, field))
        _refuse_ends(params, field)
        if self._last is None or self._last[0] is not output or self._last[1] is not tools:
            self._last = output, tools, self._known_or_new(output, tools)
        found = self._last[2]
        if error := found.error:
            raise Fault(error["code"], error.get("field", field), error["message"])
        if output is not None and tools is None:
            self.any_json = self.any_json or output.kind in ("json_schema", "json")
        return found

    def _known_or_new(self, output: OutputFormat | None, tools: ToolSet | None) -> Verdict:
        asked = Asked(output, tools, self._tool_format if tools else "generic")
        if asked.key not in self._known:
            self._refuse_too_many()
            self._known[asked.key] = self._grammars.check(self._tenant, asked)
            self._seconds += self._known[asked.key].seconds
        return self._known[asked.key]

    def _refuse_too_many(self) -> None:
        if len(self._known) >= MOST_FORMATS:
            message = (
                f"the items have more than {MOST_FORMATS:,} different output formats; split the job"
            )
            raise InvalidRequest(message, code="too_many_formats", field=FIELD)
        if self._seconds > MOST_SECONDS:
            message = (
                f"checking the first {len(self._known):,} output formats took more than "
                f"{MOST_SECONDS:.0f} seconds of processor time; make them simpler, or split the job"
            )
            raise InvalidRequest(message, code="too_many_formats", field=FIELD)

    @property
    def _tool_format(self) -> ToolFormat:
        template = self._model.template
        return template.tool_traits.format if template else "generic"


def _no_output(card: ModelCard, field: str) -> str:
    without = f"leave {FIELD} out"
    if field == "tools":
        without = "let the model choose whether it calls (auto), without strict"
    return (
        f"engine {card.engine}, which runs {card.id}, has no structured output: {without}, or take "
        "another model"
    )


def _refuse_ends(params: SamplingParams, field: str) -> None:
    what = "tools that are called by a grammar" if field == "tools" else FIELD
    for name in ENDS:
        if getattr(params, name):
            message = (
                f"{name} cannot go with {what}: the format says where the text ends. Leave one of "
                "them out"
            )
            raise Fault("invalid_value", f"params.{name}", message)


def _too_few(params: SamplingParams, max_tokens: int, least: int) -> str:
    whose = "max_tokens is"
    if "max_tokens" not in params.model_fields_set:
        whose = "max_tokens, which was not given, is"
    return f"{whose} {max_tokens:,}, but a text of this output format has at least {least:,} tokens"
