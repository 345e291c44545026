"""The `promptmill` command. Each noun has a file of its own; here they are only put together."""

from __future__ import annotations

import sys
from typing import Any

import click

from cli import client, demo, demo_model, doctor, keys, listen, parts, up
from common.errors import ConfigError, PromptmillError


class Commands(click.Group):
    """Errors of ours end in a message, not in a traceback: exit code 2 if a setting or the machine is wrong, else 1."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except PromptmillError as error:
            click.echo(f"promptmill: {error.message}", err=True)
            sys.exit(2 if isinstance(error, ConfigError) else 1)


@click.group(cls=Commands)
@click.version_option(package_name="promptmill")
def cli() -> None:
    """A self-hosted queue that turns GPUs into an asynchronous text-generation service."""


for command in (
    up.up,
    demo.demo,
    parts.serve,
    parts.worker,
    parts.webhooks,
    client.submit,
    client.watch,
    client.results,
    client.cancel,
    listen.listen,
    keys.key,
    keys.login,
    keys.webhook_secret,
    doctor.doctor,
    demo_model.model,
):
    cli.add_command(command)

if __name__ == "__main__":
    cli()
