"""A worker that writes down what its engine is given, of a model with a real tokenizer and a chat
template.

`RECORD=FILE celery -A tests.integration.worker.recording worker`.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import worker.bootsteps
from common.generation import Request
from tests.support.tokenizers import byte_level
from worker.app import app
from worker.models import OpenedModel, open_model

__all__ = ["app"]

CONTEXT = 400  # tokens
TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content | trim }}\n{% endfor %}"
    "{{ strftime_now('%d %b %Y') }}{{ tone }}<|assistant|>"
)


def open_recorded(*args: Any, **options: Any) -> OpenedModel:
    opened = open_model(*args, **options)
    submit, record = opened.engine.submit, Path(os.environ["RECORD"])

    def take(request: Request) -> None:
        with record.open("a") as lines:
            lines.write(json.dumps([request.prompt, request.prompt_ids]) + "\n")
        submit(request)

    opened.engine.submit = take  # type: ignore[method-assign]
    published = {"tokenizer": "json", "chat_template": TEMPLATE, "context": CONTEXT}
    card = opened.card.model_copy(update={**published, "digest": "recorded"})
    return replace(opened, card=card, tokenizer=byte_level())


vars(worker.bootsteps)["open_model"] = open_recorded
