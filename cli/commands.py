"""Commands that refuse empty options, and a group of them whose help says of each in full what it
does."""

from __future__ import annotations

import click


class Command(click.Command):
    """An option that is given as '' is refused by its name: as a rule it is a variable of a script
    that was never set, and would have no effect."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        typed, _, _ = self.make_parser(context).parse_args(list(args))
        for option in self.get_params(context):
            value = typed.get(option.name)
            values = value if isinstance(value, list) else [value]
            if isinstance(option, click.Option) and "" in values:
                message = "it is empty; give a value, or leave it out"
                raise click.BadParameter(message, context, option)
        return super().parse_args(context, args)


class Commands(click.Group):
    """click shortens the descriptions in the list of commands to the width of the terminal; here
    they are wrapped."""

    command_class = Command

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
