"""The small data sets that come with scikit-learn, by name."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

import numpy as np

from fastlin.data.arrays import split_of_arrays
from fastlin.data.dataset import Split
from fastlin.errors import PackageError

_UCI = "UCI Machine Learning Repository"


@dataclass(frozen=True)
class Toy:
    """What is told of a data set.

    Attributes
    ----------
    description, citation : str
        What it is and how large, and whom to cite; one line each.
    image_shape : tuple[int, int, int] | None
        (channels, height, width) if its rows are images.
    """

    description: str
    citation: str
    image_shape: tuple[int, int, int] | None = None


TOYS = {
    "digits": Toy(
        "1,797 digits of 8 x 8 pixels",
        f"E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, {_UCI}, 1998",
        (1, 8, 8),
    ),
    "iris": Toy(
        "150 flowers of 3 species, 4 features",
        "R. A. Fisher, The use of multiple measurements in taxonomic problems, 1936",
    ),
    "wine": Toy(
        "178 wines of 3 growers, 13 features", f"S. Aeberhard, M. Forina, Wine, {_UCI}, 1992"
    ),
    "breast_cancer": Toy(
        "569 tumours of 2 kinds, 30 features",
        f"W. Wolberg et al., Breast Cancer Wisconsin (Diagnostic), {_UCI}, 1995",
    ),
}


def load(name: str) -> Split:
    """Return all rows of a data set as training rows.

    Parameters
    ----------
    name : str
        One of `TOYS`.

    Raises
    ------
    PackageError
        If scikit-learn is not installed.
    """
    try:
        datasets = importlib.import_module("sklearn.datasets")
    except ImportError:
        raise PackageError(
            f"the data set {name} comes with scikit-learn, which is not installed: pip install "
            "scikit-learn"
        ) from None
    found = getattr(datasets, f"load_{name}")()
    arrays = {"X_train": found.data, "y_train": found.target}
    shape = TOYS[name].image_shape
    names = [str(text) for text in found.target_names]
    return split_of_arrays(name, arrays, names, None if shape is None else np.array(shape))
