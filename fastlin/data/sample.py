"""cifar10-mini: 3,000 real CIFAR-10 images that come with fastlin, lossless and class-balanced.

`cifar10-mini.webp` holds the images side by side, a picture that any viewer opens;
`cifar10-mini.json` their labels, where they come from, and a checksum. Made by

    python -m fastlin.data.sample FOLDER    (a folder with CIFAR-10's binary batches)
"""

from __future__ import annotations

import hashlib
import json
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlin.data.dataset import Dataset, Split
from fastlin.data.formats import cifar
from fastlin.errors import InputError

NAME = "cifar10-mini"
_COLUMNS = 60  # images side by side
_PER_CLASS = {"train": 200, "val": 50, "test": 50}


def load() -> Split:
    """Read the sample: 2,000 images to train on, 500 for validation, 500 for the test.

    Raises
    ------
    InputError
        If the installed files are not what was published.
    """
    description = json.loads((files(__package__) / f"{NAME}.json").read_text(encoding="utf-8"))
    X = _cut(_read_picture())
    if hashlib.sha256(X.data).hexdigest() != description["sha256"]:
        raise InputError(f"the installed {NAME} is damaged; install fastlin again")
    parts, start = {}, 0
    for part in _PER_CLASS:
        y = np.array([int(digit) for digit in description["parts"][part]["labels"]])
        rows = X[start : start + len(y)]
        parts[part] = Dataset(rows, y, cifar.CLASS_NAMES, cifar.IMAGE_SHAPE)
        start += len(y)
    return Split(NAME, parts["train"], parts["val"], parts["test"])


def _read_picture() -> NDArray[np.uint8]:
    # Only this data set needs it. Pillow would load the code of every format to find this one.
    from PIL.WebPImagePlugin import WebPImageFile  # noqa: PLC0415

    with (files(__package__) / f"{NAME}.webp").open("rb") as file, WebPImageFile(file) as picture:
        return np.asarray(picture)


def _cut(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the images (n, 3072) of a picture (n / columns * 32, columns * 32, 3)."""
    tiles = picture.reshape(-1, 32, _COLUMNS, 32, 3)
    return np.ascontiguousarray(tiles.transpose(0, 2, 4, 1, 3)).reshape(-1, cifar.PIXELS)


def _paste(X: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the picture of images (n, 3072): the inverse of `_cut`."""
    tiles = X.reshape(-1, _COLUMNS, *cifar.IMAGE_SHAPE)
    return tiles.transpose(0, 3, 1, 4, 2).reshape(-1, _COLUMNS * 32, 3)


def build(folder: Path, destination: Path) -> None:
    """Make the two files of the sample from the binary batches of CIFAR-10 in `folder`."""
    from PIL import Image  # noqa: PLC0415

    chosen, parts = [], {}
    sources = ("data_batch_1", "data_batch_2", "test_batch")
    split = cifar.load(folder)
    for source, (part, data) in zip(sources, split.parts().items(), strict=True):
        of_class = [np.flatnonzero(data.y == label) for label in range(len(cifar.CLASS_NAMES))]
        rows = np.sort(np.concatenate([found[: _PER_CLASS[part]] for found in of_class]))
        chosen.append(data.X[rows])
        parts[part] = {"source": source, "labels": "".join(map(str, data.y[rows]))}
    X = np.concatenate(chosen)
    description: dict[str, Any] = {
        "name": NAME,
        "source": "CIFAR-10, https://www.cs.toronto.edu/~kriz/cifar.html",
        "citation": "A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
        "choice": "the first images of each class in each source file, in the order of the file: "
        "200 of data_batch_1, 50 of data_batch_2, 50 of test_batch",
        "layout": f"{NAME}.webp (lossless): 32 x 32 pixels each, {_COLUMNS} a line; "
        "train, val, test",
        "sha256": hashlib.sha256(np.ascontiguousarray(X).data).hexdigest(),
        "parts": parts,
    }
    picture = Image.fromarray(_paste(X))
    picture.save(destination / f"{NAME}.webp", lossless=True, quality=100, method=6)
    text = json.dumps(description, indent=2) + "\n"
    (destination / f"{NAME}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m fastlin.data.sample FOLDER")
    build(Path(sys.argv[1]), Path(__file__).parent)
