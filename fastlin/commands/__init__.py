"""The command line: one module per command, loaded when it is called."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

try:
    import click

    from fastlin import __version__
    from fastlin.commands import process
    from fastlin.errors import InputError, one_line, reason_of
except KeyboardInterrupt:  # Ctrl-C before there is a command: this module is all that has begun
    raise SystemExit(130) from None

# What `fastlin --help` says of each command: their modules are loaded when they are called.
COMMANDS = {
    "train": "Train a linear classifier.",
    "fit": "Fit the exact optimum, with a proof.",
    "probe": "Fit a path of penalties, or as published.",
    "grid": "Find the best settings on validation rows.",
    "evaluate": "Print how good a trained classifier is.",
    "predict": "Write the classes that it predicts for rows.",
    "export": "Write it as a file of another program.",
    "plot": "Draw the figures of a run again.",
    "report": "Write a page on runs, or the reference study.",
    "gradcheck": "Compare gradients with central differences.",
    "data": "List, describe and fetch data sets.",
}


class OneLineError(click.ClickException):
    """Bad input: one line on standard error and exit code 2."""

    exit_code = 2


class NoMemoryError(OneLineError):
    """What was asked for does not fit into memory: one line, and exit code 1."""

    exit_code = 1


class LazyGroup(click.Group):
    """A group that imports the module of a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, in the order a user meets them."""
        return list(COMMANDS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the names of the commands, and what they do."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of that name from `fastlin.commands.<name>`."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"fastlin.commands.{cmd_name}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line as `click.Group.main` does, in a process that was prepared for it.

        The exit code is 128 + the signal after a signal (130 after Ctrl-C), and 1 if standard
        output could not be written. Progress that cannot be written is no failure.
        """
        try:
            with process.safe_streams() as (out, err), process.orderly_signals():
                try:
                    code = super().main(
                        args, prog_name, complete_var, standalone_mode=False, **extra
                    )
                except click.ClickException as error:
                    if not standalone_mode:
                        raise
                    error.show()
                    code = error.exit_code
                code = code or process.code_of_output(out, err)
        except (click.Abort, KeyboardInterrupt):  # Ctrl-C before the command, or after it
            if not standalone_mode:
                raise
            code = 130
        if standalone_mode:
            sys.exit(code)
        return code

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; turn whatever is wrong with its input into one line."""
        try:
            _check_working_directory()
            return super().invoke(ctx)
        except InputError as error:
            raise OneLineError(one_line(str(error))) from None
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            raise OneLineError(one_line(error.format_message())) from None
        except MemoryError as error:
            raise NoMemoryError(f"not enough memory: {reason_of(error)}") from None
        except KeyboardInterrupt as stop:
            click.echo("Interrupted", err=True)
            raise click.exceptions.Exit(process.exit_code(stop)) from None


def _check_working_directory() -> None:
    try:
        Path.cwd()
    except OSError as error:
        raise InputError(
            f"the working directory is gone ({error.strerror}); change to one that is there"
        ) from None


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="fastlin")
def main() -> None:
    """Train linear classifiers (softmax, multiclass SVM) and see what they learned.

    `fastlin train` needs nothing else: it trains on images that come with it.
    """
