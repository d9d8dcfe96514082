"""What is known of a run after every epoch: readable without Numba or matplotlib."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from fastlin.errors import counted
from fastlin.metrics import is_better_high, metric_of


class EpochRecord(NamedTuple):
    """One row of a `History`, and of `history.csv`: the fields are its columns."""

    epoch: int
    lr: float
    train_cost: float
    train_accuracy: float
    val_cost: float
    val_accuracy: float

    def rank(self, select: str, metric: float = math.nan) -> tuple[int, float]:
        """Return what is lower the better the epoch is.

        Parameters
        ----------
        select : str
            One of `fastlin.metrics.SELECTABLE`, by which epochs with evaluated validation rows are
            compared. Next come those of which the training rows were evaluated, by their cost, and
            then the others, the last first.
        metric : float
            Its value, where it is neither the accuracy nor the cost.

        Returns
        -------
        tuple[int, float]
        """
        value = metric if metric_of(select) is not None else getattr(self, select)
        if not math.isnan(value):
            return 0, -value if is_better_high(select) else value
        if not math.isnan(self.train_cost):
            return 1, self.train_cost
        return 2, -self.epoch


HISTORY_COLUMNS = EpochRecord._fields

_SHOWN_ROWS = 60  # of a table in a notebook


def html_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return rows as an HTML table; of many, the first and the last ones.

    Parameters
    ----------
    headings : Sequence[str]
        Of the columns.
    rows : Sequence[Sequence[object]]
        One value a column; floats are shown with four digits, and NaN and None as nothing.
    """
    half = _SHOWN_ROWS // 2
    left_out = [("…",) * len(headings)] if len(rows) > _SHOWN_ROWS else []
    shown = [*rows[:half], *left_out, *rows[-half:]] if left_out else rows
    lines = [_html_row("th", headings), *(_html_row("td", row) for row in shown)]
    return f"<table>{''.join(lines)}</table>"


def _html_row(tag: str, values: Sequence[object]) -> str:
    return f"<tr>{''.join(f'<{tag}>{html.escape(_cell(value))}</{tag}>' for value in values)}</tr>"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.4g}"
    return "" if value is None else str(value)


@dataclass(frozen=True, eq=False)
class History:
    """One value per finished epoch; NaN where rows were not evaluated, or there are none.

    Attributes
    ----------
    epoch : NDArray[np.int64]
        (E,), counted from 1.
    lr : NDArray[np.float64]
        (E,), the learning rate used during the epoch.
    train_cost, val_cost : NDArray[np.float64]
        (E,), mean loss + l2 * sum(W**2), after the epoch.
    train_accuracy, val_accuracy : NDArray[np.float64]
        (E,), fraction in [0, 1], after the epoch.
    val_metric : NDArray[np.float64] or None
        (E,), the metric by which the best epoch is chosen; None where that is another of these.
    """

    epoch: NDArray[np.int64]
    lr: NDArray[np.float64]
    train_cost: NDArray[np.float64]
    train_accuracy: NDArray[np.float64]
    val_cost: NDArray[np.float64]
    val_accuracy: NDArray[np.float64]
    val_metric: NDArray[np.float64] | None = None

    @classmethod
    def from_records(cls, records: list[EpochRecord]) -> Self:
        """Turn a list of epochs into columns."""
        columns = zip(*records, strict=True) if records else ((),) * len(HISTORY_COLUMNS)
        epoch, *values = columns
        return cls(np.array(epoch, np.int64), *(np.array(value, np.float64) for value in values))

    def records(self) -> list[EpochRecord]:
        """Return the epochs as rows of plain Python numbers."""
        columns = (getattr(self, name).tolist() for name in HISTORY_COLUMNS)
        return [EpochRecord(*row) for row in zip(*columns, strict=True)]

    def metrics(self) -> list[float]:
        """Return `val_metric` as plain numbers, NaN where there is none."""
        return len(self) * [math.nan] if self.val_metric is None else self.val_metric.tolist()

    def __len__(self) -> int:
        return len(self.epoch)

    def __repr__(self) -> str:
        if len(self) == 0:
            return "History(0 epochs)"
        measured = measured_of(self.records()[-1])
        return f"History({counted(len(self), 'epoch')}{measured and f'; {measured}'})"

    def _repr_html_(self) -> str:
        """Return a table of the epochs, as notebooks show it."""
        return html_table(HISTORY_COLUMNS, self.records())

    @property
    def has_validation(self) -> bool:
        """Whether validation rows were evaluated."""
        return len(self) > 0 and not np.isnan(self.val_accuracy).all()

    @property
    def best_epoch(self) -> int:
        """The epoch with the best validation accuracy, as in `best_by`."""
        return self.best_by("val_accuracy")

    def best_by(self, select: str) -> int:
        """Return the epoch with the best value of a measure, the first of equals; 0 if none is.

        Without validation rows it is the epoch with the lowest training cost. Epochs that were not
        evaluated do not count, unless none was: then it is the last.
        """
        ranks = [
            record.rank(select, metric)
            for record, metric in zip(self.records(), self.metrics(), strict=True)
        ]
        return ranks.index(min(ranks)) + 1 if ranks else 0


def measured_parts(record: EpochRecord) -> list[tuple[str, float, float]]:
    """Return the parts that were evaluated after an epoch, with their costs and accuracies."""
    parts = [
        ("train", record.train_cost, record.train_accuracy),
        ("val", record.val_cost, record.val_accuracy),
    ]
    return [part for part in parts if not math.isnan(part[1])]


def measured_of(record: EpochRecord) -> str:
    """Return costs and accuracies of an epoch, as far as they were measured, in one line."""
    return "; ".join(
        f"{part} cost {cost:.4g}, accuracy {accuracy:.2%}"
        for part, cost, accuracy in measured_parts(record)
    )
