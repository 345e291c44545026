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
        model, answer = self._model, effective_params(self._job.spec, item).get("max_tokens")
        tokens = PatientTokens(model.tokenizer) if model and model.tokenizer else None
        if "prompt_ids" in item:
            return model.tokenizer.decode(item["prompt_ids"]) if model and model.tokenizer else None
        prompts = StoredPrompts(
            tokens, model.template if model else None, model.card.context if model else 0
        )
        return prompts.text(item, self._job.spec, self._preparation, answer or ANSWER_TOKENS)[0]

    @cached_property
    def _model(self) -> Model | None:
        """The model that the job was made for; None once another has its name."""
        model = self._services.models.choose(self._job.model)
        return model if model.card.digest == self._job.digest else None
