"""Options that several commands share, and the terminal they write to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

    from fastlin.config import TrainConfig
    from fastlin.data import Split
    from fastlin.runs import DataReference

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def data_options(default: str | None, default_text: str) -> Decorator:
    """Add --data, --data-dir and --split, the arguments of `load_reference`."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in (
            click.option(
                "--split",
                metavar="NAME",
                help="Split of CIFAR-10: assignment (10,000 training images) or full (49,000).",
            ),
            click.option(
                "--data-dir",
                type=click.Path(path_type=Path),
                help="Folder that holds the data set  "
                "[default: $FASTLIN_DATA, else the user's cache]",
            ),
            click.option(
                "--data",
                default=default,
                metavar="NAME|PATH",
                help="Data set by name, or a .npz file or CIFAR-10 folder or archive  "
                f"[default: {default_text}]",
            ),
        ):
            command = option(command)
        return command

    return decorate


def threads_option() -> Decorator:
    """Add --threads."""
    return click.option(
        "--threads",
        type=click.IntRange(min=1),
        help="Threads to run on; the result does not depend on it  [default: all cores]",
    )


def reference_of(data: str, split: str | None, data_dir: Path | None) -> DataReference:
    """Return the data reference of the options; paths are made absolute, to be found again."""
    from fastlin.files import check_reachable
    from fastlin.runs import DataReference

    path = Path(data)
    for named in (path, *([] if data_dir is None else [data_dir])):
        check_reachable(named)
    return DataReference(
        str(path.resolve()) if path.exists() else data,
        split,
        None if data_dir is None else str(data_dir.resolve()),
    )


def override(
    reference: DataReference, data: str | None, split: str | None, data_dir: Path | None
) -> DataReference:
    """Return the data of a saved run, or what the options put in its place."""
    if data is not None:
        return reference_of(data, split, data_dir)
    saved_dir = Path(reference.data_dir) if reference.data_dir else None
    return reference_of(reference.data, split or reference.split, data_dir or saved_dir)


def train_command(reference: DataReference, config: TrainConfig) -> str:
    """Return the `fastlin train` command of settings, to the last digit; defaults are left out."""
    import shlex

    from fastlin.config import TrainConfig

    words = ["fastlin", "train"]
    for name, value in [("data", reference.data), ("split", reference.split),
                        ("data_dir", reference.data_dir)]:  # fmt: skip
        if value is not None:
            words += [f"--{name.replace('_', '-')}", value]
    defaults = TrainConfig().to_dict()
    for name, value in config.to_dict().items():
        flag = name.replace("_", "-")
        if value == defaults[name]:
            continue
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag}", str(value)]
    return shlex.join(words)


def refuse_without_effect(given: Iterable[str], configs: Iterable[TrainConfig]) -> None:
    """Raise InputError if a setting was given that has an effect in none of the configurations."""
    from fastlin.errors import InputError

    unused = [config.without_effect() for config in configs]
    for name in given:
        if all(name in reasons for reasons in unused):
            flag, reason = name.replace("_", "-"), unused[0][name]
            raise InputError(f"--{flag} has no effect with {reason}; leave one of them out")


def load_reference(reference: DataReference) -> Split:
    """Load the data that a reference names."""
    from fastlin.data import load_split

    data_dir = None if reference.data_dir is None else Path(reference.data_dir)
    return load_split(reference.data, reference.split, data_dir)


def console(*, stderr: bool = False) -> Console:
    """Return where tables go (standard output), or progress and notes (standard error)."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=True)
