"""history.csv of a run folder: one line per finished epoch, numbers exact."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fastlin import files
from fastlin.errors import InputError, quoted
from fastlin.history import HISTORY_COLUMNS, EpochRecord, History

HISTORY = "history.csv"


def save_history(folder: str | Path, history: History) -> None:
    """Write history.csv; numbers are exact. Raises InputError if the folder cannot be written."""
    records = history.records()
    rows = [[None if np.isnan(value) else value for value in record] for record in records]
    files.save_csv(files.as_path(folder) / HISTORY, HISTORY_COLUMNS, rows)


def load_history(path: str | Path, epochs: int) -> History:
    """Read a history.csv.

    Parameters
    ----------
    path : str or Path
    epochs : int
        That it may have, at most.

    Returns
    -------
    History

    Raises
    ------
    InputError
        If the file is missing or damaged; the message names the line.
    """
    path = files.as_path(path)
    lines = files.read_csv(path)
    if tuple(next(lines)) != HISTORY_COLUMNS:
        raise InputError(f"{path} is damaged: its first line must be {','.join(HISTORY_COLUMNS)}")
    records: list[EpochRecord] = []
    for number, (epoch, *cells) in enumerate(lines, start=1):
        if epoch != str(number):
            raise InputError(
                f"{path} is damaged: line {number + 1} is of epoch {quoted(epoch)}, not {number}"
            )
        if number > epochs:
            raise InputError(
                f"{path} is damaged: it has more than the {epochs} epochs of the run's settings"
            )
        # Rows that were not evaluated have neither cost nor accuracy.
        pairs = {"train": cells[1:3], "val": cells[3:5]}
        values = []
        for name, cell in zip(HISTORY_COLUMNS[1:], cells, strict=True):
            try:
                is_absent = pairs.get(name.partition("_")[0]) == ["", ""]
                values.append(np.nan if is_absent else files.parse_number(cell))
            except ValueError as error:
                raise InputError(f"{path} is damaged: line {number + 1}, {name}: {error}") from None
        record = EpochRecord(number, *values)
        for name in ("train_accuracy", "val_accuracy"):
            if not (np.isnan(getattr(record, name)) or 0 <= getattr(record, name) <= 1):
                raise InputError(
                    f"{path} is damaged: line {number + 1}, {name}: {getattr(record, name)!r} is "
                    "outside 0 to 1"
                )
        records.append(record)
    return History.from_records(records)
