"""history.csv of a run folder: one line per finished epoch, numbers exact."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from fastlin import files
from fastlin.errors import InputError, counted, quoted
from fastlin.history import HISTORY_COLUMNS, EpochRecord, History
from fastlin.metrics import metric_of

HISTORY = "history.csv"


def columns_of(select: str) -> tuple[str, ...]:
    """Return the columns of the history of a run whose best epoch is chosen by a measure."""
    return HISTORY_COLUMNS if metric_of(select) is None else (*HISTORY_COLUMNS, select)


def save_history(folder: str | Path, history: History, select: str = "val_accuracy") -> None:
    """Write history.csv; numbers are exact. Raises InputError if the folder cannot be written.

    Where the best epoch is chosen by a metric, `select`, that is the last column.
    """
    columns = columns_of(select)
    rows = [
        [None if np.isnan(value) else value for value in (*record, metric)][: len(columns)]
        for record, metric in zip(history.records(), history.metrics(), strict=True)
    ]
    files.save_csv(files.as_path(folder) / HISTORY, columns, rows)


def load_history(path: str | Path, epochs: int, select: str = "val_accuracy") -> History:
    """Read a history.csv.

    Parameters
    ----------
    path : str or Path
    epochs : int
        That it may have, at most.
    select : str
        By which measure the best epoch is chosen.

    Returns
    -------
    History

    Raises
    ------
    InputError
        If the file is missing or damaged; the message names the line.
    """
    path, columns = files.as_path(path), columns_of(select)
    lines = files.read_csv(path)
    if tuple(next(lines)) != columns:
        raise InputError(f"{path} is damaged: its first line must be {','.join(columns)}")
    records: list[EpochRecord] = []
    metrics: list[float] = []
    for number, (epoch, *cells) in enumerate(lines, start=1):
        if epoch != str(number):
            raise InputError(
                f"{path} is damaged: line {number + 1} is of epoch {quoted(epoch)}, not {number}"
            )
        if number > epochs:
            raise InputError(
                f"{path} is damaged: it has more than the {counted(epochs, 'epoch')} of the run's "
                "settings"
            )
        # Rows that were not evaluated have neither cost nor accuracy.
        pairs = {"train": cells[1:3], "val": cells[3:]}
        values = []
        for name, cell in zip(columns[1:], cells, strict=True):
            try:
                is_absent = not any(pairs.get(name.partition("_")[0], [cell, "lr"]))
                values.append(np.nan if is_absent else files.parse_number(cell))
            except ValueError as error:
                raise InputError(f"{path} is damaged: line {number + 1}, {name}: {error}") from None
        record = EpochRecord(number, *values[: len(HISTORY_COLUMNS) - 1])
        metrics += values[len(HISTORY_COLUMNS) - 1 :]
        for name in ("train_accuracy", "val_accuracy"):
            if not (np.isnan(getattr(record, name)) or 0 <= getattr(record, name) <= 1):
                raise InputError(
                    f"{path} is damaged: line {number + 1}, {name}: {getattr(record, name)!r} is "
                    "outside 0 to 1"
                )
        records.append(record)
    found = History.from_records(records)
    return found if columns == HISTORY_COLUMNS else replace(found, val_metric=np.array(metrics))
