"""The command `models`: the models that a server knows, and what the engine of each has."""

from __future__ import annotations

from collections.abc import Iterator

import click

from cli.client import open_client
from cli.commands import Command
from cli.folder import DataFolder, data_option
from cli.terminal import print_line
from common.params import lacked
from common.types import JsonObject


@click.command(cls=Command)
@data_option
def models(folder: DataFolder) -> None:
    """List the models that the server knows: engine, workers and context, what the engine can do
    (features), and which decoding parameters it lacks."""
    with open_client(folder) as client:
        for model in client.models():
            for line in about(model):
                print_line(line)


def about(model: JsonObject) -> Iterator[str]:
    """A model of `GET /v1/models` in lines."""
    card, workers = model["card"], model["workers"]
    live = f"{workers} worker{'s' if workers != 1 else ''}" if workers else "no worker: jobs wait"
    also = f" (stands for {model['alias_of']})" if model["alias_of"] else ""
    if adapter := card.get("adapter"):
        also += f" (adapter {adapter} of {card['base']})"
    yield f"{model['id']}{also}  engine {card['engine']}, {live}, {card['context']:,} tokens"
    if features := card.get("features"):
        yield f"  features: {', '.join(features)}"
    params = card.get("params")
    if missing := lacked(None if params is None else tuple(params)):
        yield f"  lacks: {', '.join(missing)}"
