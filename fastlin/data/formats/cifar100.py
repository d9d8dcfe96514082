"""CIFAR-100 as it is distributed: 60,000 images as those of CIFAR-10, of 100 fine classes."""

from __future__ import annotations

from pathlib import Path

from fastlin.data.dataset import Dataset, Split
from fastlin.data.formats import cifar

CLASS_NAMES = (
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle",
    "bottle", "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle",
    "caterpillar", "cattle", "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch",
    "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish", "forest", "fox",
    "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard", "lion",
    "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom",
    "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree",
    "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road",
    "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake",
    "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone",
    "television", "tiger", "tractor", "train", "trout", "tulip", "turtle", "wardrobe", "whale",
    "willow_tree", "wolf", "woman", "worm",
)  # fmt: skip
KIND = cifar.Kind("CIFAR-100", CLASS_NAMES, 2, "fine_labels")
NAMES = (
    "cifar-100-binary", "cifar-100-python", "cifar-100-binary.tar.gz", "cifar-100-python.tar.gz",
    "cifar-100-binary.tar", "cifar-100-python.tar",
)  # fmt: skip
ROWS = {"train": 50_000, "test": 10_000}
_VALIDATION_ROWS = 1_000


def find(place: Path) -> Path | None:
    """Return the CIFAR-100 folder or archive at `place` or in it, as `cifar.find` does."""
    if cifar.is_archive(place) and "cifar-100" in place.name:
        return place
    return cifar.find_below(place, _is_folder, NAMES)


def _is_folder(path: Path) -> bool:
    return (cifar.is_there(path / "train.bin") and cifar.is_there(path / "test.bin")) or (
        cifar.is_there(path / "train") and cifar.is_there(path / "meta")
    )


def load(path: Path) -> Split:
    """Read CIFAR-100 from a folder or archive that `find` returned.

    10 training images of each class, drawn with a fixed seed, are for validation.

    Raises
    ------
    InputError
        If a file is missing, cut short, too long or not of this data set.
    """
    X, y = cifar.read_batches(path, ROWS, KIND)
    last = ROWS["train"]
    first_val = cifar.move_validation_rows_last(X[:last], y[:last], CLASS_NAMES, _VALIDATION_ROWS)
    train, val, test = (
        Dataset(X[rows], y[rows], CLASS_NAMES, cifar.IMAGE_SHAPE)
        for rows in (slice(first_val), slice(first_val, last), slice(last, None))
    )
    return Split("cifar100", train, val, test)
