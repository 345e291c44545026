"""Adds OpenAI's API to the app, with the paths of vLLM's server."""

from __future__ import annotations

from flask import Flask

from web.openai.batches import batches
from web.openai.chat import chat
from web.openai.files import files
from web.openai.models import models
from web.openai.vllm import vllm


def register(app: Flask) -> None:
    for blueprint in (batches, chat, files, models, vllm):
        app.register_blueprint(blueprint)
