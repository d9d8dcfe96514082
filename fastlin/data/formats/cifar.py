"""CIFAR-10 as it is distributed: binary or Python, as a folder or as a .tar or .tar.gz archive.

A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009: 32 x 32 RGB images of
ten classes in five training batches and one test batch of 10,000 images each. CIFAR-100, which is
distributed in the same ways, is in `.cifar100`.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastlin.data.dataset import Dataset, Split
from fastlin.data.formats.safe_pickle import load_dict
from fastlin.data.formats.tar_archive import open_file, opened, readable, shown_path
from fastlin.errors import InputError

CLASS_NAMES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
IMAGE_SHAPE = (3, 32, 32)
PIXELS = 3 * 32 * 32
BATCH_ROWS = 10_000
TRAIN_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_BATCH = "test_batch"
BINARY_FOLDER, PYTHON_FOLDER = "cifar-10-batches-bin", "cifar-10-batches-py"
BINARY_ARCHIVE, PYTHON_ARCHIVE = "cifar-10-binary.tar.gz", "cifar-10-python.tar.gz"
# Keras unpacks into a folder in a folder of this name, or beside an archive of the other one.
_OTHER_ARCHIVES = ("cifar-10-binary.tar", "cifar-10-python.tar", "cifar-10-batches-py.tar.gz")
ARCHIVE_SUFFIXES = (".tar.gz", ".tgz", ".tar")
SPLITS = ("assignment", "full")
_VALIDATION_ROWS = 1_000
_SPLIT_SEED = 0
_MOST_FOLDERS = 100  # that are looked into for one of the data set
_SHOWN_LETTERS = 60  # of a member's name

# Bytes for every 10,000 images; the largest batch of the Python distribution has 31,035,999.
_LARGEST_PICKLE = 40_000_000


@dataclass(frozen=True)
class Kind:
    """How one of the two data sets is distributed.

    Attributes
    ----------
    title : str
        Its name.
    class_names : tuple[str, ...]
    label_bytes : int
        Before the pixels of an image in the binary distribution; the last one is the label.
    labels_key : str
        Of the labels in the Python distribution.
    """

    title: str
    class_names: tuple[str, ...]
    label_bytes: int
    labels_key: str


CIFAR10 = Kind("CIFAR-10", CLASS_NAMES, 1, "labels")


def find(place: Path) -> Path | None:
    """Return the CIFAR-10 folder or archive at `place` or in it, None if none is.

    In it: of a usual name, or any folder of one level below, or of a usual name in one of those.
    """
    names = (BINARY_FOLDER, PYTHON_FOLDER, BINARY_ARCHIVE, PYTHON_ARCHIVE, *_OTHER_ARCHIVES)
    if is_archive(place) and "cifar-100" not in place.name:
        return place
    return find_below(place, _is_folder, names)


def find_below(place: Path, is_it: Callable[[Path], bool], names: tuple[str, ...]) -> Path | None:
    """Return the folder or archive of a data set at a place, or at most two levels below.

    Hidden folders are left out: archives are unpacked in them.
    """
    if is_it(place):
        return place
    try:
        visible = (path for path in place.iterdir() if not path.name.startswith("."))
        below = sorted(path for path in visible if path.is_dir())[:_MOST_FOLDERS]
    except OSError:  # no folder, or one that may not be read
        return None
    for folder in (place, *below):
        for name in names:
            if is_it(folder / name) or is_archive(folder / name):
                return folder / name
    return next((folder for folder in below if is_it(folder)), None)


def is_archive(path: Path) -> bool:
    """Return whether a file is there that is called like an archive."""
    return path.name.endswith(ARCHIVE_SUFFIXES) and is_there(path)


def _is_folder(path: Path) -> bool:
    """Whether any batch is there: a folder that lacks some is reported by name when it is read."""
    names = (*TRAIN_BATCHES, TEST_BATCH)
    return any(is_there(path / f"{name}{suffix}") for name in names for suffix in ("", ".bin"))


def is_there(path: Path) -> bool:
    """Whether a file is there; False also for a path that no file can have."""
    try:
        return path.is_file()
    except OSError:  # as of a name that is too long
        return False


def load(path: Path, split: str | None = None) -> Split:
    """Read CIFAR-10 from a folder or archive that `find` returned.

    Parameters
    ----------
    split : ``assignment`` (the default; training on data_batch_1, validation on data_batch_2) or
        ``full`` (the 50,000 training images, of which 100 of each class, drawn with a fixed seed,
        are for validation). The test rows are test_batch.

    Raises
    ------
    InputError
        If the split is unknown or a file is missing, cut short, too long or not of this data set.
    """
    split = split or SPLITS[0]
    if split not in SPLITS:
        raise InputError(f"CIFAR-10 has no split {split!r}; its splits are {', '.join(SPLITS)}")
    names = TRAIN_BATCHES[:2] if split == "assignment" else TRAIN_BATCHES
    X, y = read_batches(path, dict.fromkeys((*names, TEST_BATCH), BATCH_ROWS), CIFAR10)
    train_rows = len(y) - BATCH_ROWS
    test = Dataset(X[train_rows:], y[train_rows:], CLASS_NAMES, IMAGE_SHAPE)
    if split == "assignment":
        first_val = BATCH_ROWS
    else:
        first_val = move_validation_rows_last(
            X[:train_rows], y[:train_rows], CLASS_NAMES, _VALIDATION_ROWS
        )
    train = Dataset(X[:first_val], y[:first_val], CLASS_NAMES, IMAGE_SHAPE)
    val = Dataset(X[first_val:train_rows], y[first_val:train_rows], CLASS_NAMES, IMAGE_SHAPE)
    return Split("cifar10" if split == "assignment" else f"cifar10-{split}", train, val, test)


def move_validation_rows_last(
    X: NDArray[np.uint8], y: NDArray[np.int64], class_names: tuple[str, ...], count: int
) -> int:
    """Put a stratified choice of `count` rows at the end, in place, and return the first of them.

    Both parts keep the order of the files. In place: the rows are most of the memory of a run.
    """
    generator = np.random.default_rng(_SPLIT_SEED)
    per_class = count // len(class_names)
    chosen = np.zeros(len(y), bool)
    for label, name in enumerate(class_names):
        rows = np.flatnonzero(y == label)
        if len(rows) <= per_class:
            raise InputError(f"only {len(rows)} images of class {name}; there must be thousands")
        chosen[generator.choice(rows, per_class, replace=False)] = True
    val_X, val_y = X[chosen], y[chosen]
    kept = np.flatnonzero(~chosen)
    for start in range(0, len(kept), 1_000):  # rows only move towards the front
        rows = kept[start : start + 1_000]
        X[start : start + len(rows)] = X[rows]
    y[: len(kept)] = y[kept]
    X[len(kept) :], y[len(kept) :] = val_X, val_y
    return len(kept)


def read_batches(
    path: Path, rows_of: Mapping[str, int], kind: Kind
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the images (n, 3072) and labels (n,) of batches, one after the other.

    Parameters
    ----------
    path : Path
        A folder or an archive.
    rows_of : Mapping[str, int]
        How many images each batch has, by its name without ``.bin``.
    kind : Kind

    Raises
    ------
    InputError
        If a file is missing, cut short, too long or not of this data set.
    """
    X = np.empty((sum(rows_of.values()), PIXELS), np.uint8)
    y = np.empty(len(X), np.int64)
    ends = np.cumsum(list(rows_of.values())).tolist()
    end_of = dict(zip(rows_of, ends, strict=True))
    batches = _batches_of_archive if is_there(path) else _batches_of_folder
    with closing(batches(path, rows_of, kind)) as found:
        for name, is_binary, content, shown in found:
            rows = slice(end_of[name] - rows_of[name], end_of[name])
            (_read_binary if is_binary else _read_pickled)(content, shown, X[rows], y[rows], kind)
    return X, y


# The name of a batch, whether it is of the binary distribution, its content, and what to call it.
_Batches = Generator[tuple[str, bool, bytes, str], None, None]


def _batches_of_folder(path: Path, rows_of: Mapping[str, int], kind: Kind) -> _Batches:
    for name, count in rows_of.items():
        binary, pickled = path / f"{name}.bin", path / name
        found = binary if os.path.lexists(binary) else pickled
        if not os.path.lexists(found):
            raise InputError(
                f"{shown_path(path)} has no {name} (neither {name}.bin nor a pickle {name})"
            )
        with readable(found), open_file(found) as file:
            content = file.read(_largest(count, kind, is_binary=found is binary) + 1)
        yield name, found is binary, content, shown_path(found)


def _batches_of_archive(path: Path, rows_of: Mapping[str, int], kind: Kind) -> _Batches:
    """Read an archive once, to its end, without unpacking it to disk.

    To its end, because only there a checksum tells whether what came before is intact.
    """
    missing = list(rows_of)
    with opened(path) as archive:
        for member_name, member in archive.members():
            name, _, suffix = member_name.rpartition("/")[2].partition(".")
            if name not in rows_of or suffix not in {"", "bin"}:
                continue
            shown = f"{shown_path(member_name[-_SHOWN_LETTERS:])} in {shown_path(path)}"
            if name not in missing:
                raise InputError(f"{shown} is the second {name} there; there must be one")
            if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
                raise InputError(f"{shown} is a link or something else that is no plain file")
            is_binary = suffix == "bin"
            largest = _largest(rows_of[name], kind, is_binary=is_binary)
            yield name, is_binary, archive.read(min(member.size, largest + 1)), shown
            missing.remove(name)
        archive.read_to_end()
    if missing:
        raise InputError(
            f"{shown_path(path)} has no {missing[0]}; it is not an archive of {kind.title}"
        )


def _largest(count: int, kind: Kind, *, is_binary: bool) -> int:
    """Return the number of bytes that a batch has, or, as a pickle, can have."""
    if is_binary:
        return count * (kind.label_bytes + PIXELS)
    return _LARGEST_PICKLE * max(1, count // 10_000)


def _read_binary(
    content: bytes, shown: str, X: NDArray[np.uint8], y: NDArray[np.int64], kind: Kind
) -> None:
    """Read records of label bytes and 3,072 pixel bytes: red, green, blue, each row by row."""
    size = len(y) * (kind.label_bytes + PIXELS)
    if len(content) < size:
        raise InputError(f"{shown} ends after {len(content):,} bytes; it must have {size:,}")
    if len(content) > size:
        raise InputError(f"{shown} goes on after {size:,} bytes; it must have just those")
    records = np.frombuffer(content, np.uint8).reshape(len(y), -1)
    X[:], y[:] = records[:, kind.label_bytes :], records[:, kind.label_bytes - 1]
    _check_labels(y.tolist(), shown, kind)


def _read_pickled(
    content: bytes, shown: str, X: NDArray[np.uint8], y: NDArray[np.int64], kind: Kind
) -> None:
    """Read a pickled dict with `data` (rows, 3072) uint8 and labels."""
    largest = _largest(len(y), kind, is_binary=False)
    if len(content) > largest:
        raise InputError(f"{shown} has more than {largest:,} bytes; it is no batch of {kind.title}")
    batch = load_dict(content, shown)
    data, labels = batch.get("data"), batch.get(kind.labels_key)
    if not isinstance(data, np.ndarray) or data.shape != X.shape or data.dtype != np.uint8:
        raise InputError(f"{shown} must hold 'data', an array of {X.shape} uint8")
    if not isinstance(labels, list) or len(labels) != len(y) or {*map(type, labels)} != {int}:
        raise InputError(
            f"{shown} must hold '{kind.labels_key}', a list of {len(y):,} whole numbers"
        )
    _check_labels(labels, shown, kind)
    X[:], y[:] = data, labels


def _check_labels(labels: list[int], shown: str, kind: Kind) -> None:
    last = len(kind.class_names) - 1
    for row, label in enumerate(labels):
        if not 0 <= label <= last:
            number = str(label) if abs(label) < 2**63 else "of more than 63 bits"
            raise InputError(f"{shown}: image {row} has label {number}; labels are 0 to {last}")
