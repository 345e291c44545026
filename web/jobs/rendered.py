"""The text that the model read of a job's items: not stored, but made again for those who ask."""

from __future__ import annotations

from common.errors import InvalidRequest, NotFound
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


class RenderedPrompts:
    """Makes the texts of one job's items. There are none once its model was replaced by another
    under its name, which reads them differently."""

    def __init__(self, services: Services, job: Job, prep: JobPrep):
        """
        Raises:
            Unreadable: a newer version made the job's preparation.
        """
        self._spec = job.spec
        with reading(f"the preparation of {job.id}"):
            self._preparation = Preparation.of(prep)
        self._model = _model_of(services, job)

    def of(self, item: StoredItem) -> str | None:
        """What the model reads; None where nothing can be made of the item."""
        model = self._model
        if model is None or "refused" in item:
            return None
        if "prompt_ids" in item:
            return model.tokenizer.decode(item["prompt_ids"]) if model.tokenizer else None
        tokens = PatientTokens(model.tokenizer) if model.tokenizer else None
        prompts = StoredPrompts(tokens, model.template, model.card.context)
        answer = effective_params(self._spec, item).get("max_tokens", ANSWER_TOKENS)
        try:
            text, _ = prompts.text(item, self._spec, self._preparation, answer)
        except InvalidRequest:
            return None
        return text


def _model_of(services: Services, job: Job) -> Model | None:
    try:
        model = services.models.choose(job.model)
    except NotFound:
        return None
    return model if model.card.digest == job.digest else None
