"""The command line: one module per command, loaded when it is called."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import click

from fastlin import __version__
from fastlin.errors import InputError, one_line

COMMANDS = ("train", "grid", "evaluate", "plot", "report", "gradcheck", "data")


class OneLineError(click.ClickException):
    """Bad input: one line on standard error and exit code 2."""

    exit_code = 2


class LazyGroup(click.Group):
    """A group that imports the module of a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, in the order a user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of that name from `fastlin.commands.<name>`."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"fastlin.commands.{cmd_name}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; turn whatever is wrong with its input into one line."""
        try:
            Path.cwd()
        except OSError as error:  # some packages that are imported later cannot do without
            message = f"the working directory cannot be read: {error.strerror}; go to another one"
            raise OneLineError(message) from None
        try:
            return super().invoke(ctx)
        except InputError as error:
            raise OneLineError(one_line(str(error))) from None
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            raise OneLineError(one_line(error.format_message())) from None


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="fastlin")
def main() -> None:
    """Train linear classifiers (softmax, multiclass SVM) and see what they learned.

    `fastlin train` needs nothing else: it trains on images that come with it.
    """
