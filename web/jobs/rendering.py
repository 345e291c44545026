"""Makes the prompts of a job's items again, as the model reads them: they are not stored."""

from __future__ import annotations

import logging
from functools import cached_property

from common.cooperate import Steps
from common.errors import PromptmillError
from common.prompting.prepare import ANSWER_TOKENS, Preparation
from common.prompting.stored import StoredPrompts
from common.store.job import Job
from common.store.job_prep import JobPrep
from common.store.records import reading
from common.store.rows import effective_params
from common.stored_item import StoredItem
from common.structured.tool_prompt import Messages
from web.intake.counting import PatientTokens
from web.services.models import Model
from web.services.services import Services

log = logging.getLogger(__name__)


class Renderer:
    """Renders the items of one job."""

    def __init__(self, services: Services, job: Job, prep: JobPrep):
        self._services = services
        self._job = job
        with reading(f"the preparation of {job.id}"):
            self._preparation = Preparation.of(prep)
        self._steps = Steps()

    def text(self, item: StoredItem) -> str | None:
        """The prompt as the model reads it; None where it cannot be made: a variable has no value,
        or it takes a tokenizer or chat template that is not here, or not any more."""
        self._steps.step()
        try:
            with reading(f"a prompt of {self._job.id}"):
                return self._text(item)
        except PromptmillError as error:
            log.debug("%s", error)
            return None

    def _text(self, item: StoredItem) -> str | None:
        if self._preparation is None and "prompt" in item:
            return item["prompt"]
        if "prompt_ids" in item:
            return self._decoded(item)
        spec, answer = self._job.spec, self._answer_tokens(item)
        return self._prompts.text(item, spec, self._preparation, answer)[0]

    def asked(self, item: StoredItem) -> str | Messages | None:
        """The prompt as it was asked, a text or the messages of a chat; None as for `text`."""
        self._steps.step()
        if "prompt_ids" in item:
            return self._decoded(item)
        if self._preparation is None:
            return item.get("prompt", item.get("messages"))
        try:
            with reading(f"a prompt of {self._job.id}"):
                spec, answer = self._job.spec, self._answer_tokens(item)
                return self._prompts.prepared(item, spec, self._preparation, answer).asked
        except PromptmillError as error:
            log.debug("%s", error)
            return None

    def _decoded(self, item: StoredItem) -> str | None:
        tokenizer = self._model.tokenizer if self._model else None
        return tokenizer.decode(item["prompt_ids"]) if tokenizer else None

    def _answer_tokens(self, item: StoredItem) -> int:
        return effective_params(self._job.spec, item).get("max_tokens") or ANSWER_TOKENS

    @cached_property
    def _prompts(self) -> StoredPrompts:
        model = self._model
        tokens = PatientTokens(model.tokenizer) if model and model.tokenizer else None
        return StoredPrompts(
            tokens, model.template if model else None, model.card.context if model else 0
        )

    @cached_property
    def _model(self) -> Model | None:
        """The model that the job was made for; None once another has its name."""
        model = self._services.models.choose(self._job.model)
        return model if model.card.digest == self._job.digest else None
