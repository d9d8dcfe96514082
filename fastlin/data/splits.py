"""Rows that are held out of training, to choose settings by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlin.errors import InputError, counted, listed, quoted
from fastlin.settings import as_float

DEFAULT_FRACTION = 0.1
_SHOTS_STREAM = 2  # of a seed of training, whose streams 0 and 1 are of weights and orders


def check_fraction(fraction: Any) -> float:
    """Return the share of rows to hold out.

    Raises
    ------
    InputError
        If it is no number between 0 and 1.
    """
    number = as_float(fraction)
    if not 0 < number < 1:
        raise InputError(
            f"val_fraction is {quoted(fraction)}; it must be a number between 0 and 1: the share "
            "of the training rows that is held out for validation"
        )
    return number


def stratified_share(
    y: NDArray[np.int64], fraction: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide rows in two, with every class in both in the same proportion, as far as it goes.

    The share of a class is rounded so that all add up: those with the largest remainders get one
    row more. A class keeps at least one row; which rows of it are held out is drawn.

    Parameters
    ----------
    y : NDArray[np.int64]
        (n,) class numbers.
    fraction : float
        The share to hold out, between 0 and 1.
    seed : int
        Of the draw.

    Returns
    -------
    tuple[NDArray[np.int64], NDArray[np.int64]]
        The numbers of the rows that stay, and of those held out, each ascending.

    Raises
    ------
    InputError
        If that would hold out no row.
    """
    counts = np.bincount(y)
    exact = counts * fraction
    held = np.minimum(np.floor(exact).astype(np.int64), np.maximum(counts - 1, 0))
    missing = round(len(y) * fraction) - int(held.sum())
    by_remainder = np.argsort(held - exact, kind="stable")
    has_more = by_remainder[counts[by_remainder] - held[by_remainder] > 1]
    held[has_more[: max(missing, 0)]] += 1
    if not held.any():
        raise InputError(
            f"a share of {fraction:g} of {counted(len(y), 'row')} holds out no row of any class; "
            "give more rows, a larger val_fraction, or validation rows"
        )
    is_held = np.zeros(len(y), bool)
    of_class = _class_by_class(y, np.random.default_rng(seed))
    firsts = np.cumsum(counts) - counts
    for first, count in zip(firsts.tolist(), held.tolist(), strict=True):
        is_held[of_class[first : first + count]] = True
    return np.flatnonzero(~is_held), np.flatnonzero(is_held)


def check_fold_count(row_count: int, folds: int) -> None:
    """Raise InputError if there are fewer rows than folds."""
    if row_count < folds:
        raise InputError(
            f"{counted(row_count, 'row')} cannot be divided into {folds} folds; give fewer folds"
        )


def stratified_folds(y: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """Divide rows into folds that all have the classes in the same proportion.

    The rows of a class are shuffled, and all are then dealt out class by class: the numbers of rows
    of a class in two folds, and those of all rows, differ by one at most.

    Parameters
    ----------
    y : NDArray[np.int64]
        (n,) class numbers.
    folds : int
        How many, from 2 to n.
    seed : int
        Of the shuffling.

    Returns
    -------
    NDArray[np.int64]
        (n,) the fold of every row, from 0.

    Raises
    ------
    InputError
        If there are fewer rows than folds.
    """
    check_fold_count(len(y), folds)
    of_class = _class_by_class(y, np.random.default_rng(seed))
    found = np.empty(len(y), np.int64)
    found[of_class] = np.arange(len(y)) % folds
    return found


def folds_and_outside(
    y: NDArray[np.int64], folds: int
) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """Return `stratified_folds` of seed 0, and the numbers of the rows outside of each."""
    found = stratified_folds(y, folds, 0)
    return found, [np.flatnonzero(found != fold) for fold in range(folds)]


def few_rows(y: NDArray[np.int64], shots: int, seed: int, draw: int) -> NDArray[np.int64]:
    """Draw some rows of every class, without replacement.

    Parameters
    ----------
    y : NDArray[np.int64]
        (n,) class numbers.
    shots : int
        How many of every class; of one with fewer rows all are taken.
    seed, draw : int
        Draws of one seed differ by their number, and depend on nothing else.

    Returns
    -------
    NDArray[np.int64]
        The numbers of the rows, ascending.
    """
    stream = np.random.SeedSequence(seed, spawn_key=(_SHOTS_STREAM, draw))
    of_class = _class_by_class(y, np.random.default_rng(stream))
    counts = np.bincount(y)
    place_in_class = np.arange(len(y)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.sort(of_class[place_in_class < shots])


def _class_by_class(y: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the numbers of all rows, class by class, each shuffled."""
    order = rng.permutation(len(y))
    return order[np.argsort(y[order], kind="stable")]


def note_on_small_classes(
    y: NDArray[np.int64], class_names: Sequence[str], folds: int
) -> str | None:  # fmt: skip
    """Return which classes have fewer rows (but some) than there are folds; None if none has."""
    counts = np.bincount(y, minlength=len(class_names))
    small = np.flatnonzero((counts > 0) & (counts < folds)).tolist()
    if not small:
        return None
    names = listed(class_names[k] for k in small)
    return (
        f"fewer than {folds} rows, the number of folds, are of {counted(len(small), 'class')}: "
        f"{names}; some folds have none of them"
    )
