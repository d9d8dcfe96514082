"""CIFAR-10 as Kaggle gives it: a folder train of PNG files, and their labels in trainLabels.csv."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fastlin import files
from fastlin.data.dataset import Dataset, Split
from fastlin.data.formats import cifar
from fastlin.data.formats.image_folder import read_images
from fastlin.errors import InputError, quoted

_LABELS = "trainLabels.csv"
_VALIDATION_ROWS = 1_000


def find(place: Path) -> Path | None:
    """Return `place`, or a folder in it, if it holds the labels and the images; else None."""
    return cifar.find_below(place, _is_folder, ())


def _is_folder(path: Path) -> bool:
    return cifar.is_there(path / _LABELS) and (path / "train").is_dir()


def load(path: Path, split: str | None = None) -> Split:
    """Read the labelled images; 100 of each class, drawn with a fixed seed, are for validation.

    Kaggle's test images have no labels, and are not read.

    Raises
    ------
    InputError
        If an image is missing or damaged, or a label is no class of CIFAR-10.
    """
    if split not in (None, "full"):
        raise InputError(f"Kaggle's CIFAR-10 is in another order: it has no split {quoted(split)}")
    paths, labels = [], []
    number_of = {name: number for number, name in enumerate(cifar.CLASS_NAMES)}
    lines = files.read_csv(path / _LABELS)
    if next(lines) != ["id", "label"]:
        raise InputError(f"{path / _LABELS} must have the columns id and label")
    for number, name in lines:
        if name not in number_of or not number.isascii() or not number.isdigit():
            raise InputError(f"{path / _LABELS}: image {quoted(number)} has label {quoted(name)}")
        paths.append(path / "train" / f"{number}.png")
        labels.append(number_of[name])
    images = read_images(paths)
    if images.shape[1:] != cifar.IMAGE_SHAPE:
        raise InputError(f"{path} has images of {images.shape[1:]}; CIFAR-10 has (3, 32, 32)")
    X, y = images.reshape(len(images), -1), np.array(labels, np.int64)
    first = cifar.move_validation_rows_last(X, y, cifar.CLASS_NAMES, _VALIDATION_ROWS)
    train, val = (
        Dataset(X[rows], y[rows], cifar.CLASS_NAMES, cifar.IMAGE_SHAPE)
        for rows in (slice(first), slice(first, None))
    )
    return Split("cifar10-kaggle", train, val)
