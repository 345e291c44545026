"""A job's template, cleaning and truncation between what was sent and what is stored."""

from __future__ import annotations

from common.prompting.cleaning import ORDER
from common.store.job_prep import JobPrep, TemplateDict, Truncate
from common.types import JsonObject
from web.schemas.preparation import PromptTemplate, Truncation
from web.schemas.requests import JobOptions, UploadOptions, keeps_bad_rows

# What is stored as it was sent, and means something to the same items in another job.
SENT = ("template", "clean", "truncate", "preset")


def prep_of(options: JobOptions) -> JobPrep:
    """What the store keeps of the options; the columns come from the items."""
    prep: JobPrep = {}
    if options.template is not None:
        prep["template"] = _template(options.template)
    if options.clean:
        prep["clean"] = [step for step in ORDER if step in options.clean]
    if options.truncate is not None:
        prep["truncate"] = _truncate(options.truncate)
    if options.preset is not None:
        prep["preset"] = options.preset
    if isinstance(options, UploadOptions) and options.columns is not None:
        prep["mapped"] = options.columns.model_dump(exclude_none=True, exclude_defaults=True)
    if keeps_bad_rows(options):
        prep["bad_rows"] = "fail"
    return prep


def _template(template: PromptTemplate) -> TemplateDict:
    if template.messages:
        return {"messages": [message.model_dump() for message in template.messages]}
    return {"prompt": template.prompt or ""}


def _truncate(truncation: Truncation) -> Truncate:
    found: Truncate = {"to": truncation.to, "keep": truncation.keep}
    if truncation.variable is not None:
        found["variable"] = truncation.variable
    return found


def sent(prep: JobPrep) -> JsonObject:
    """The options that a job was made with. Its preset has gone into them, and is only named."""
    found: JsonObject = {name: value for name, value in prep.items() if name in SENT}
    return found | ({"columns": prep["mapped"]} if "mapped" in prep else {})
