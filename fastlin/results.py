"""What training leaves behind, as plain records: readable without Numba."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

HISTORY_COLUMNS = ("epoch", "lr", "train_cost", "train_accuracy", "val_cost", "val_accuracy")


@dataclass(frozen=True, eq=False)
class History:
    """One value per finished epoch; validation values are NaN where there is no validation set.

    Attributes
    ----------
    epoch : (E,) int64, counted from 1.
    lr : (E,) float64, the learning rate used during the epoch.
    train_cost, val_cost : (E,) float64, mean loss + l2 * sum(W**2), after the epoch.
    train_accuracy, val_accuracy : (E,) float64, fraction in [0, 1], after the epoch.
    """

    epoch: NDArray[np.int64]
    lr: NDArray[np.float64]
    train_cost: NDArray[np.float64]
    train_accuracy: NDArray[np.float64]
    val_cost: NDArray[np.float64]
    val_accuracy: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.epoch)

    @property
    def has_validation(self) -> bool:
        """Whether validation rows were evaluated."""
        return len(self) > 0 and not np.isnan(self.val_accuracy).all()
