"""Predictions of rows as a table, written block by block: CSV, Parquet or .npy.

However many rows there are, one block of them is in memory, with its scores.
"""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TextIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastlin import files, functional, matching, packages
from fastlin.data.dataset import Dataset
from fastlin.data.rows import Rows
from fastlin.errors import InputError, MatchWarning
from fastlin.model import LinearModel, best_classes

BYTES_OF_BLOCK = 16_000_000  # of a block's rows and scores; larger ones are not faster
_LEAST_ROWS_OF_BLOCK = 128

Columns = dict[str, NDArray[Any]]  # of one block, by heading


@dataclass(frozen=True)
class Content:
    """What a table of predictions holds of each row, beside its number or id.

    Attributes
    ----------
    top : int
        How many classes: the best first, each with its name.
    probabilities, scores : bool
        Whether these are there: of the `top` classes, or of every class where `top` is 1.
    """

    top: int = 1
    probabilities: bool = False
    scores: bool = False

    def check(self, model: LinearModel) -> None:
        """Raise `InputError` if a model has not so many classes, or no probabilities."""
        model.check_class_count("top", self.top)
        if self.probabilities:
            model.check_has_probabilities()

    def check_file(self, path: Path) -> None:
        """Raise `InputError` if a file of that name cannot hold it."""
        kind = path.suffix.lower()
        if kind not in WRITERS:
            raise InputError(
                f"predictions cannot be written to {path}: its name must end in "
                f"{', '.join(WRITERS)}"
            )
        if kind == ".npy" and sum((self.top > 1, self.probabilities, self.scores)) > 1:
            raise InputError(
                f"{path}: a .npy file holds one array, of probabilities, of scores or of the names "
                "of top classes; choose one of them, or write a .csv or .parquet file"
            )


def save_predictions(
    model: LinearModel,
    data: Rows | Dataset | ArrayLike,
    path: str | Path,
    *,
    top: int = 1,
    probabilities: bool = False,
    scores: bool = False,
) -> None:
    """Write the predicted classes of rows as a table, in the order of the rows.

    Its columns are ``row`` (the number of the row, from 0; or ``id``, where the rows have ids) and
    ``class``, by name; then what is asked for. A .npy file holds one array without headings: the
    names (n,) or (n, top), or the probabilities or scores (n, K).

    Parameters
    ----------
    model : LinearModel
    data : Rows, Dataset or ArrayLike
        As in `LinearModel.scores`, or of `fastlin.load_rows`. Rows on another scale than those
        trained on are a `fastlin.errors.MatchWarning`.
    path : str or Path
        Ends in .csv, .parquet or .npy. A file that is there is replaced.
    top : int
        So many classes a row: ``class``, ``class_2``, ... in the order of their scores.
    probabilities : bool
        Add the probabilities of these classes (``probability``, ``probability_2``, ...); where
        `top` is 1, of every class (``probability_NAME``).
    scores : bool
        The same of scores.

    Raises
    ------
    InputError
        If rows do not fit the model or have a value that is not finite, `path` is of another kind
        or cannot be written, or something is asked for that the model or the file does not have.
    """
    content = Content(top, probabilities, scores)
    rows, notes = matching.match_rows(model, Rows.of(data, model.feature_names))
    for note in notes:
        warnings.warn(note, MatchWarning, stacklevel=2)
    save_matched(model, rows, path, content)


def save_matched(model: LinearModel, rows: Rows, path: str | Path, content: Content) -> None:
    """Do `save_predictions` for rows that `matching.match_rows` has seen."""
    path = files.as_path(path)
    content.check_file(path)
    content.check(model)
    with files.atomic_write(path) as file:
        WRITERS[path.suffix.lower()](file, blocks(model, rows, content), len(rows))


def blocks(model: LinearModel, rows: Rows, content: Content) -> Iterator[Columns]:
    """Return the table of predictions, block after block, each as columns of equal length.

    Raises
    ------
    InputError
        If a value is not finite or a score is beyond the dtype of the model; it names the row.
    """
    content.check(model)
    K = len(model.b)
    bytes_of_row = (rows.feature_count + 2 * K) * 8
    count = max(_LEAST_ROWS_OF_BLOCK, BYTES_OF_BLOCK // bytes_of_row)
    names = np.array(model.class_names)
    scale = model.scale if rows.scale is None else rows.scale
    for first in range(0, len(rows), count):
        last = min(first + count, len(rows))
        try:
            scores = functional.scores(
                rows.block(first, last),
                model.W,
                model.b,
                offset=model.feature_offset,
                scale=scale,
                first_row=first,
            )
        except InputError as error:
            raise InputError(f"{rows.name}: {error}") from None
        numbered = {"row": np.arange(first, last)}
        columns = numbered if rows.ids is None else {"id": rows.ids[first:last]}
        yield columns | _columns(model, scores, names, content)


def _columns(
    model: LinearModel, scores: NDArray[Any], names: NDArray[np.str_], content: Content
) -> Columns:
    """Return the columns that say what is predicted from scores (n, K)."""
    values: Columns = {}
    if content.probabilities:
        values["probability"] = model.probabilities_of(scores)
    if content.scores:
        values["score"] = scores
    best = best_classes(scores, content.top)
    columns: Columns = {}
    for place in range(content.top):
        classes, ending = best[:, place], f"_{place + 1}" if place else ""
        columns[f"class{ending}"] = names[classes]
        if content.top > 1:
            for what, of_classes in values.items():
                chosen = np.take_along_axis(of_classes, classes[:, None], axis=1)
                columns[f"{what}{ending}"] = chosen[:, 0]
    if content.top == 1:
        for what, of_classes in values.items():
            columns |= {f"{what}_{name}": of_classes[:, k] for k, name in enumerate(names.tolist())}
    return columns


def write_csv(file: TextIO, table: Iterator[Columns]) -> None:
    """Write a table as CSV; floating-point numbers have the digits that give them back exactly.

    Parameters
    ----------
    file : TextIO
    table : Iterator[Columns]
        Of `blocks`.
    """
    writer = csv.writer(file, lineterminator="\n")
    for number, columns in enumerate(table):
        if number == 0:
            writer.writerow(columns)
        cells = [
            (column.astype(str) if column.dtype.kind == "f" else column).tolist()
            for column in columns.values()
        ]
        writer.writerows(zip(*cells, strict=True))


def _write_csv_file(file: IO[bytes], table: Iterator[Columns], row_count: int) -> None:
    del row_count
    text = io.TextIOWrapper(file, "utf-8", newline="")
    try:
        write_csv(text, table)
    finally:
        text.detach()  # flushes, and leaves the file open


def _write_parquet(file: IO[bytes], table: Iterator[Columns], row_count: int) -> None:
    del row_count
    purpose = "a .parquet file"
    pyarrow = packages.load("pyarrow", "formats", purpose)
    parquet = packages.load("pyarrow.parquet", "formats", purpose)
    writer = None
    try:
        for columns in table:
            block = pyarrow.table(columns)
            writer = writer or parquet.ParquetWriter(file, block.schema)
            writer.write_table(block)
    finally:
        if writer is not None:
            writer.close()


def _write_npy(file: IO[bytes], table: Iterator[Columns], row_count: int) -> None:
    """Write the one array of a table: of values if there are any, else of class names."""
    for number, columns in enumerate(table):
        values = [column for column in columns.values() if column.dtype.kind == "f"]
        names = [column for name, column in columns.items() if name.startswith("class")]
        chosen = values or names
        array = chosen[0] if len(chosen) == 1 else np.stack(chosen, axis=1)
        if number == 0:
            header = {
                "descr": np.lib.format.dtype_to_descr(array.dtype),
                "fortran_order": False,
                "shape": (row_count, *array.shape[1:]),
            }
            np.lib.format.write_array_header_1_0(file, header)
        file.write(np.ascontiguousarray(array).data)


# How a table is written, by the ending of the file's name.
WRITERS: dict[str, Callable[[IO[bytes], Iterator[Columns], int], None]] = {
    ".csv": _write_csv_file,
    ".parquet": _write_parquet,
    ".npy": _write_npy,
}
