"""A group of commands whose help says of each in full what it does."""

from __future__ import annotations

import click


class Commands(click.Group):
    """click shortens the descriptions in the list of commands to the width of the terminal; here
    they are wrapped."""

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(self.commands)  # in the order of their definition

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        rows = []
        for name in self.list_commands(context):
            command = self.get_command(context, name)
            if command:
                rows.append((name, " ".join((command.help or "").split("\n\n")[0].split())))
        with formatter.section("Commands"):
            formatter.write_dl(rows)
