"""Options that several commands share, and the terminal they write to."""

from __future__ import annotations

import functools
import os
import re
import shlex
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastlin.config import TrainConfig
from fastlin.errors import InputError, one_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from fastlin.data import Split
    from fastlin.data.source import DataReference
    from fastlin.data.tables import KnownColumns
    from fastlin.model import LinearModel

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
Data = dict[str, Any]  # the arguments of `fastlin.load_split` that were given, by name

NAME_LETTERS = 40  # of a name in a table

# Widths and heights that a terminal may be said to have; rich takes any digits, 0 too.
_LINES_OR_COLUMNS = re.compile("[1-9][0-9]{0,3}")


class PlacePath(click.Path):
    """A path, in which ~ is the home folder: shells expand it at the beginning of a word only."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path. Fails if it is empty, or of a home folder that nobody has."""
        return super().convert(_expanded(self, value, param, ctx), param, ctx)


class DataName(click.types.StringParamType):
    """The name of a data set, or a path as `PlacePath` takes it; both remain text."""

    name = "data"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the name or the path. Fails as `PlacePath` does."""
        return _expanded(self, value, param, ctx)


class MeasureName(click.types.StringParamType):
    """By what entries of a search are ranked, in words with hyphens: ``balanced-accuracy``."""

    name = "measure"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the measure without ``val_``. Fails if there is none of that name."""
        from fastlin.metrics import MEASURES

        names = [measure.replace("_", "-") for measure in MEASURES]
        if value not in names:
            self.fail(f"{value!r} is not one of {', '.join(names)}", param, ctx)
        return str(value).replace("-", "_")


class ScaleType(click.types.StringParamType):
    """A number, or a fraction such as 1/255."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number. Fails if it is none."""
        numerator, bar, denominator = str(value).partition("/")
        try:
            return float(numerator) / (float(denominator) if bar else 1)
        except (ValueError, ZeroDivisionError):
            self.fail(f"{value!r} is no number, and no fraction such as 1/255", param, ctx)


def _expanded(
    kind: PlacePath | DataName, value: Any, param: click.Parameter | None, ctx: click.Context | None
) -> Any:
    text = os.fspath(value)
    if not text:
        kind.fail("it is empty; leave the option out for its default", param, ctx)
    path = os.path.expanduser(text)  # noqa: PTH111  (a Path would lose the ./ of ./cifar10)
    if path.startswith("~"):
        kind.fail(
            f"there is no home folder {text.partition(os.sep)[0]!r}; for a file of that name "
            f"write {'./' + text!r}", param, ctx,
        )  # fmt: skip
    return path


_HALF = "half of what there is"
PLACE, DATA = PlacePath(), DataName()


def _data_declared(default_text: str) -> dict[str, tuple[click.ParamType[Any] | None, str, str]]:
    """Return type, metavar and help of every option of data, by the name of the argument."""
    path = "FILE:NAME is an array or column of it"
    return {
        "data": (
            DATA,
            "NAME|PATH",
            f"Data set by name, file or folder; {path}  [default: {default_text}]",
        ),
        "labels": (
            DATA,
            "PATH",
            f"File of the labels, if not with the rows; {path}, :NAME one of the file of the rows.",
        ),
        "val_data": (DATA, "PATH", "Validation rows, if not in --data."),
        "val_labels": (DATA, "PATH", "Their labels, if not with them."),
        "test_data": (DATA, "PATH", "Test rows, if not in --data."),
        "test_labels": (DATA, "PATH", "Their labels, if not with them."),
        "data_dir": (
            PLACE,
            "PATH",
            "Folder that holds the data set  [default: $FASTLIN_DATA, else the user's cache]",
        ),
        "split": (
            None,
            "NAME",
            "Split of CIFAR-10: assignment (10,000 training images) or full (49,000).",
        ),
        "val_fraction": (
            click.FloatRange(0, 1, min_open=True, max_open=True),
            "SHARE",
            "Hold out this share of the training rows for validation.",
        ),
        "scale": (
            ScaleType(),
            "NUMBER",
            "Factor of stored values, such as 1 or 1/255  [default: 1/255 for uint8, else 1]",
        ),
        "memory": (
            None,
            "SIZE",
            f"Memory for rows, such as 2GB; more are read in blocks  [default: {_HALF}]",
        ),
        "sample_weight": (
            DATA,
            "PATH",
            f"How much each training row counts; {path}, :NAME one of the files of rows.",
        ),
    }


def data_options(default_text: str, *, without: Iterable[str] = ()) -> Decorator:
    """Add the options that say which data to read.

    The command gets one argument for all of them, `data`: the arguments of `fastlin.load_split`
    that were given, by name. For those in `without` there is no option; `default_text` is what the
    help says of data that are not named.
    """
    declared = _data_declared(default_text)
    for name in without:
        del declared[name]

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def with_data(*arguments: Any, **given: Any) -> Any:
            data = {name: given.pop(name) for name in declared}
            named = {name: value for name, value in data.items() if value is not None}
            return command(*arguments, data=named, **given)

        found: Callable[..., Any] = with_data
        for name, (kind, metavar, text) in reversed(declared.items()):
            flag = f"--{name.replace('_', '-')}"
            found = click.option(flag, name, type=kind, metavar=metavar, help=text)(found)
        return found

    return decorate


def threads_option() -> Decorator:
    """Add --threads."""
    return click.option(
        "--threads",
        type=click.IntRange(min=1),
        help="Threads to run on; the result does not depend on it  [default: all cores]",
    )


def thread_count(threads: int | None) -> int:
    """Return how many threads --threads gives: errors come before anything is computed."""
    from fastlin.threads import use_threads

    with use_threads(threads) as count:
        return count


def dask_option() -> Decorator:
    """Add --dask."""
    return click.option(
        "--dask",
        metavar="ADDRESS|local:N",
        help="Train on the workers of a Dask cluster: that of a scheduler, or N on this machine. "
        "The result does not depend on it.",
    )


def with_dask(command: str, dask: str | None) -> str:
    """Return a command that goes on where one with this --dask was."""
    return command if dask is None else f"{command} --dask {shlex.quote(dask)}"


@contextmanager
def cluster(dask: str | None) -> Iterator[Any]:
    """Connect to the cluster of --dask; yields its client, or None without the option."""
    if dask is None:
        yield None
        return
    from fastlin.cluster import connected
    from fastlin.commands import process

    with connected(dask) as client:
        try:
            yield client
        except KeyboardInterrupt:
            process.heed()  # to close takes a moment
            raise


def weights_option() -> Decorator:
    """Add --weights."""
    return click.option(
        "--weights",
        type=click.Choice(["last", "best"]),
        default="last",
        show_default=True,
        help="Weights after the last epoch, or after the best one: by validation accuracy, or by "
        "what the run was told to --select.",
    )


def select_option(text: str, default: str | None = None) -> Decorator:
    """Add --select, of which the help says what is chosen by it."""
    return click.option(
        "--select",
        type=MeasureName(),
        default=default,
        metavar="MEASURE",
        help=f"{text}, of validation rows: accuracy, cost, balanced-accuracy, macro-f1, log-loss, "
        "...  [default: accuracy]",
    )


def force_option() -> Decorator:
    """Add --force."""
    return click.option("--force", is_flag=True, help="Replace the file if it is there already.")


def eval_train_option() -> Decorator:
    """Add --eval-train."""
    return click.option(
        "--eval-train",
        "eval_train_every",
        type=click.IntRange(min=0),
        default=1,
        show_default=True,
        metavar="N",
        help="Evaluate the training rows after every N epochs, 0 for never. It saves time, and "
        "changes no result.",
    )


def reference_of(data: Data) -> DataReference:
    """Return the data reference of options, which must name data; see `catalog.reference_of`."""
    from fastlin.data import catalog

    return catalog.reference_of(**data)


def override(reference: DataReference, data: Data) -> DataReference:
    """Return the data of a saved run, or what the options put in its place.

    Other data replace all that the reference says; without them single options replace theirs. The
    fingerprint goes along where the data are to be those of the run.
    """
    asked = reference_of(data if "data" in data else reference.arguments() | data)
    if replace(asked, data_dir=None) == replace(reference, data_dir=None, sha256=None):
        return replace(asked, sha256=reference.sha256)
    return asked


def refuse_without_effect(given: Iterable[str], configs: Iterable[TrainConfig]) -> None:
    """Raise InputError if a setting was given that has an effect in none of the configurations."""
    first, *others = [(config, config.without_effect()) for config in configs]
    for name in given:
        if all(name in unused for _, unused in (first, *others)):
            config, unused = first
            cause = unused[name]
            flag, flag_of_cause = (f"--{setting.replace('_', '-')}" for setting in (name, cause))
            raise InputError(
                f"{flag} has no effect with {flag_of_cause} {getattr(config, cause)}; "
                "leave one of them out"
            )


def load_for(model: LinearModel, reference: DataReference, trained: DataReference) -> Split:
    """Load the data that a reference names to be judged by a model; print notes.

    Columns that the model does not know by name are left out. The column of labels that it was
    trained with is looked for where no other is named.
    """
    from fastlin.data.beside import Place
    from fastlin.data.tables import KnownColumns

    label = None if trained.labels is None else Place.of(trained.labels).name
    return load_reference(reference, KnownColumns(model.feature_names, label))


def load_reference(reference: DataReference, known: KnownColumns | None = None) -> Split:
    """Load the data that a reference names; print what was converted or left out as notes."""
    from fastlin.data import catalog
    from fastlin.data.tables import NOTHING_KNOWN
    from fastlin.errors import MissingDataError

    with data_notes():
        try:
            return catalog.load_reference(reference, known or NOTHING_KNOWN)
        except MissingDataError as error:
            raise InputError(f"{error} (--data-dir FOLDER)") from None


@contextmanager
def data_notes() -> Iterator[None]:
    """Print what the body says of data, such as what it converts, as notes, each at once."""
    from fastlin.errors import DataWarning

    with warnings.catch_warnings():
        warnings.simplefilter("always", DataWarning)
        show_others = warnings.showwarning

        def show(message: Any, category: type[Warning], *more: Any, **named: Any) -> None:
            if issubclass(category, DataWarning):
                console(stderr=True).print(f"Note: {message}")
            else:
                show_others(message, category, *more, **named)

        warnings.showwarning = show
        yield


def console(*, stderr: bool = False) -> Console:
    """Return where tables go (standard output), or progress and notes (standard error).

    Text is printed as it is: square brackets and colons are no markup, no emoji. Lines are as long
    as they are.
    """
    from rich.console import Console

    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in {"COLUMNS", "LINES"} or _LINES_OR_COLUMNS.fullmatch(value)
    }
    return Console(
        file=sys.stderr if stderr else sys.stdout, highlight=False, soft_wrap=True, markup=False,
        emoji=False, _environ=environment,
    )  # fmt: skip


def print_table(console: Console, table: Table) -> None:
    """Print a table as wide as its content: a number of which a part is cut off is wrong."""
    everything = console.options.update(width=1_000_000)
    table.width = console.measure(table, options=everything).maximum
    console.print(table)


def name_in_table(name: str) -> str:
    """Return a name as it stands in a table: on one line, without the middle if it is long."""
    return one_line(name, NAME_LETTERS)
