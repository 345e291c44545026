"""Adds OpenAI's API to the app, with the paths of vLLM's server."""

from __future__ import annotations

from flask import Flask

from web.openai.batch_validator import BatchValidator
from web.openai.batches import batches
from web.openai.chat import chat
from web.openai.files import files
from web.openai.models import models
from web.openai.output_sizes import OutputSizer
from web.openai.vllm import vllm
from web.services.services import Services


def register(app: Flask) -> None:
    for blueprint in (batches, chat, files, models, vllm):
        app.register_blueprint(blueprint)


def start_background(services: Services) -> None:
    BatchValidator(services).start()
    OutputSizer(services).start()
