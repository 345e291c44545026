"""The `promptmill` command. Each group of commands is in a file of its own."""

from __future__ import annotations

import errno
import importlib
import sys
from typing import Any

import click

from cli.commands import Commands
from cli.terminal import print_line
from common.errors import ConfigError, PromptmillError, Unavailable

# A file is imported only when its command is called: the web tier must not import `ssl` before
# gevent patches it, and no part needs the memory that the others' imports take.
COMMANDS = {
    "up": "cli.up",
    "demo": "cli.demo",
    "serve": "cli.parts",
    "worker": "cli.parts",
    "webhooks": "cli.parts",
    "evaluator": "cli.parts",
    "submit": "cli.submit",
    "watch": "cli.jobs",
    "results": "cli.jobs",
    "cancel": "cli.jobs",
    "jobs": "cli.jobs",
    "models": "cli.models",
    "evaluate": "cli.evaluate",
    "compare": "cli.compare",
    "study": "cli.study",
    "listen": "cli.listen",
    "key": "cli.keys",
    "login": "cli.keys",
    "logout": "cli.keys",
    "webhook-secret": "cli.keys",
    "webhook-url": "cli.keys",
    "backup": "cli.backup",
    "restore": "cli.backup",
    "doctor": "cli.doctor",
    "model": "cli.demo_model",
}


class LazyCommands(Commands):
    """Prints promptmill's own errors without a traceback. The exit code is 2 if a setting or the
    machine is wrong, else 1."""

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(
            importlib.import_module(COMMANDS[name]), name.replace("-", "_")
        )
        return command

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except PromptmillError as error:
            hint = "; `promptmill doctor` finds the cause" if isinstance(error, Unavailable) else ""
            print_line(f"promptmill: {error.message}{hint}", err=True)
            sys.exit(2 if isinstance(error, ConfigError) else 1)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):  # full
                raise
            where = f" of {error.filename}" if error.filename else ""
            print_line(f"promptmill: the disk{where} is full; free some space there", err=True)
            sys.exit(2)


@click.group(cls=LazyCommands)
@click.version_option(package_name="promptmill")
def cli() -> None:
    """A self-hosted queue that turns GPUs into an asynchronous text-generation service."""


if __name__ == "__main__":
    cli()
