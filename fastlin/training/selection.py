"""By which measure of validation rows an epoch, or an entry of a search, is the best."""

from __future__ import annotations

from collections.abc import Sequence

from fastlin.data.dataset import Split
from fastlin.errors import InputError
from fastlin.losses import Softmax
from fastlin.metrics import OF_PROBABILITIES, TOP, check_select, metric_of

DEFAULT_SELECT = "val_accuracy"


def check_can_select(split: Split, select: str, losses: Sequence[object]) -> None:
    """Raise InputError if classifiers of such losses cannot be compared by a measure.

    Parameters
    ----------
    split : Split
        What is trained on.
    select : str
        The measure; anything but the accuracy needs validation rows.
    losses : Sequence[object]
        Those trained with.
    """
    check_select(select)
    if select != DEFAULT_SELECT and split.val is None:
        raise InputError(
            f"{split.name} has no validation rows to select by {select}; hold rows out "
            "(val_fraction), or leave select out"
        )
    metric = metric_of(select)
    if metric is None:
        return
    others = [loss for loss in losses if not isinstance(loss, Softmax)]
    if metric.name in OF_PROBABILITIES and others:
        raise InputError(
            f"{select} is of probabilities, which the loss {others[0]} does not give; select by "
            "another metric, or train with the loss softmax alone"
        )
    K = len(split.train.class_names)
    if metric.name == "top_5_accuracy" and K <= TOP:
        raise InputError(
            f"{select} is 1 with {K} classes, whatever is trained; select by another metric"
        )
