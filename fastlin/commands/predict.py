"""`fastlin predict`: the classes of rows, as a table."""

from __future__ import annotations

import itertools
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fastlin.commands import options, outcome
from fastlin.errors import InputError, counted

if TYPE_CHECKING:
    from fastlin.data.rows import Rows
    from fastlin.model import LinearModel
    from fastlin.runs import Run

_STDOUT = Path("-")


@click.command()
@click.argument("run", type=options.PLACE)
@click.argument("data", type=options.DATA, metavar="[DATA]", required=False)
@click.option(
    "--out",
    type=options.PLACE,
    required=True,
    help="A file that ends in .csv, .parquet or .npy; or - for CSV to standard output.",
)
@click.option(
    "--part",
    type=click.Choice(["train", "val", "test"]),
    help="Which rows, where DATA has several parts.",
)
@click.option("--proba", is_flag=True, help="Add the probability of every class (softmax).")
@click.option("--scores", is_flag=True, help="Add the score of every class.")
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=1,
    metavar="K",
    help="The K best classes, best first; --proba and --scores are then of these.",
)
@click.option(
    "--ids",
    type=options.DATA,
    metavar="PATH",
    help="What the rows are known by, in place of their numbers, if it is not a column id of DATA; "
    "FILE:NAME is an array or column, :NAME one of the file of the rows.",
)
@click.option("--split", metavar="NAME", help="Split of CIFAR-10: assignment or full.")
@click.option("--data-dir", type=options.PLACE, help="Folder that holds the data set.")
@options.weights_option()
@options.threads_option()
@options.force_option()
def predict(
    run: Path,
    data: str | None,
    out: Path,
    part: str | None,
    proba: bool,
    scores: bool,
    top: int,
    ids: str | None,
    split: str | None,
    data_dir: Path | None,
    weights: str,
    threads: int | None,
    force: bool,
) -> None:
    """Write the classes that the run folder RUN predicts for the rows of DATA.

    DATA is a file, a folder or a name as of --data of fastlin train, and needs no labels; by
    default it is the run's own data. Rows keep their order and their ids. A .npy file holds class
    names, or with --proba or --scores those numbers alone.
    """
    from fastlin import matching, predictions
    from fastlin.functional import use_threads

    saved = outcome.load_run(run)
    model = saved.model if weights == "last" else saved.best_model
    content = predictions.Content(top, proba, scores)
    try:
        content.check(model)
    except InputError as error:
        raise InputError(f"{run}: {error}") from None
    if out != _STDOUT:
        content.check_file(out)
        outcome.check_new_file(out, force)
        for given, what in ((data, "rows"), (ids, "ids")):
            if given is not None and _is_same_file(out, given):
                raise InputError(f"{out} is the file of the {what}; name another --out")
    rows = _rows(saved, model, data, part, ids, split, data_dir)
    rows, notes = matching.match_rows(model, rows)
    for note in notes:
        outcome.print_note(options.console(stderr=True), note)
    with use_threads(threads):
        if out == _STDOUT:
            table = predictions.blocks(model, rows, content)
            predictions.write_csv(sys.stdout, itertools.takewhile(_is_read, table))
            return
        predictions.save_matched(model, rows, out, content)
    options.console().print(f"Predictions of {counted(len(rows), 'row')}: {out}")


def _is_same_file(out: Path, data: str) -> bool:
    from fastlin.data.beside import Place

    path = Place.of(data).path
    return out.exists() and path.exists() and out.samefile(path)


def _is_read(_: object) -> bool:
    """Return whether standard output could be written so far: nobody waits for more otherwise."""
    return getattr(sys.stdout, "failure", None) is None


def _rows(
    saved: Run,
    model: LinearModel,
    data: str | None,
    part: str | None,
    ids: str | None,
    split: str | None,
    data_dir: Path | None,
) -> Rows:
    """Return the rows of DATA, or those of a part of the run's own data."""
    from fastlin.data.rows import load_rows, rows_of_part, with_ids
    from fastlin.data.source import DataReference

    if data is not None:
        with options.data_notes():
            features = model.feature_names
            return load_rows(data, part, split, data_dir, features=features, ids=ids)
    given = {"split": split, "data_dir": data_dir}
    named = {name: value for name, value in given.items() if value is not None}
    reference = options.override(saved.data, named)
    is_alone = replace(reference, labels=None, sha256=None) == DataReference(reference.data)
    if is_alone and (reference.labels is None or model.feature_names is not None):
        with options.data_notes():  # which keeps the ids of a table, as a split does not
            return load_rows(reference.data, part, features=model.feature_names, ids=ids)
    return with_ids(rows_of_part(options.load_for(model, reference, saved.data), part), ids)
