"""CIFAR-10 as it is distributed: binary or Python, as a folder or as a .tar.gz archive.

A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009: 32 x 32 RGB images of
ten classes in five training batches and one test batch of 10,000 images each.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from fastlin.data.dataset import Dataset, Split
from fastlin.data.safe_pickle import load_dict
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

SPLITS = ("assignment", "full")
_VALIDATION_ROWS = 1_000
_SPLIT_SEED = 0

# The largest batch file of the Python distribution has 31,035,999 bytes.
_LARGEST_PICKLE = 40_000_000


def find(place: Path) -> Path | None:
    """Return the CIFAR-10 folder or archive at `place` or directly inside it, None if none is."""
    if _is_folder(place) or (place.is_file() and place.name.endswith((".tar.gz", ".tgz"))):
        return place
    for name in (BINARY_FOLDER, PYTHON_FOLDER):
        if _is_folder(place / name):
            return place / name
    for name in (BINARY_ARCHIVE, PYTHON_ARCHIVE):
        if (place / name).is_file():
            return place / name
    return None


def _is_folder(path: Path) -> bool:
    """Whether any batch is there: a folder that lacks some is reported by name when it is read."""
    names = (*TRAIN_BATCHES, TEST_BATCH)
    return any((path / f"{name}{suffix}").is_file() for name in names for suffix in ("", ".bin"))


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
    X, y = _read(path, (*names, TEST_BATCH))
    train_rows = len(y) - BATCH_ROWS
    test = Dataset(X[train_rows:], y[train_rows:], CLASS_NAMES, IMAGE_SHAPE)
    if split == "assignment":
        first_val = BATCH_ROWS
    else:
        first_val = _move_validation_rows_last(X[:train_rows], y[:train_rows])
    train = Dataset(X[:first_val], y[:first_val], CLASS_NAMES, IMAGE_SHAPE)
    val = Dataset(X[first_val:train_rows], y[first_val:train_rows], CLASS_NAMES, IMAGE_SHAPE)
    return Split("cifar10" if split == "assignment" else f"cifar10-{split}", train, val, test)


def _move_validation_rows_last(X: NDArray[np.uint8], y: NDArray[np.int64]) -> int:
    """Put a stratified choice of rows at the end, in place, and return the first of them.

    Both parts keep the order of the files. In place: the rows are most of the memory of a run.
    """
    generator = np.random.default_rng(_SPLIT_SEED)
    per_class = _VALIDATION_ROWS // len(CLASS_NAMES)
    chosen = np.zeros(len(y), bool)
    for label in range(len(CLASS_NAMES)):
        rows = np.flatnonzero(y == label)
        if len(rows) <= per_class:
            raise InputError(
                f"only {len(rows)} images of class {CLASS_NAMES[label]}; CIFAR-10 has 5,000"
            )
        chosen[generator.choice(rows, per_class, replace=False)] = True
    val_X, val_y = X[chosen], y[chosen]
    kept = np.flatnonzero(~chosen)
    for start in range(0, len(kept), 1_000):  # rows only move towards the front
        rows = kept[start : start + 1_000]
        X[start : start + len(rows)] = X[rows]
    y[: len(kept)] = y[kept]
    X[len(kept) :], y[len(kept) :] = val_X, val_y
    return len(kept)


def _read(path: Path, names: tuple[str, ...]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the images and labels of batches, one after the other."""
    X = np.empty((len(names) * BATCH_ROWS, PIXELS), np.uint8)
    y = np.empty(len(X), np.int64)

    def store(name: str, read: Callable[..., None], source: Any, shown: str) -> None:
        start = names.index(name) * BATCH_ROWS
        rows = slice(start, start + BATCH_ROWS)
        read(source, shown, X[rows], y[rows])

    if path.is_dir():
        for name in names:
            binary, pickled = path / f"{name}.bin", path / name
            if binary.is_file():
                with _readable(binary), binary.open("rb") as file:
                    store(name, _read_binary, file, str(binary))
            elif pickled.is_file():
                store(name, _read_pickled, pickled, str(pickled))
            else:
                raise InputError(f"{path} has no {name} (neither {name}.bin nor a pickle)")
    else:
        _read_archive(path, names, store)
    return X, y


def _read_archive(path: Path, names: tuple[str, ...], store: Callable[..., None]) -> None:
    """Read batches from a .tar.gz in one pass, without unpacking it to disk."""
    missing = set(names)
    with _readable(path), tarfile.open(path, "r|gz") as archive:
        for member in archive:
            name, _, suffix = member.name.rpartition("/")[2].partition(".")
            if name not in missing or suffix not in {"", "bin"} or not member.isfile():
                continue
            file = archive.extractfile(member)
            if file is None:
                continue
            shown = f"{member.name} in {path}"
            store(name, _read_binary if suffix else _read_pickled, file, shown)
            missing.remove(name)
            if not missing:
                return
    raise InputError(f"{path} has no {min(missing)}; it is not an archive of CIFAR-10")


def _read_binary(file: IO[bytes], shown: str, X: NDArray[np.uint8], y: NDArray[np.int64]) -> None:
    """Read records of 1 label byte and 3,072 pixel bytes: red, green, blue, each row by row."""
    size = len(y) * (1 + PIXELS)
    block_rows = 500
    for start in range(0, len(y), block_rows):
        count = min(block_rows, len(y) - start)
        content = file.read(count * (1 + PIXELS))
        if len(content) != count * (1 + PIXELS):
            got = start * (1 + PIXELS) + len(content)
            raise InputError(f"{shown} ends after {got:,} bytes; it must have {size:,}")
        records = np.frombuffer(content, np.uint8).reshape(count, 1 + PIXELS)
        y[start : start + count] = records[:, 0]
        X[start : start + count] = records[:, 1:]
    if file.read(1):
        raise InputError(f"{shown} goes on after {size:,} bytes; it must have just those")
    _check_labels(y, shown)


def _read_pickled(
    source: Path | IO[bytes], shown: str, X: NDArray[np.uint8], y: NDArray[np.int64]
) -> None:
    """Read a pickled dict with `data` (rows, 3072) uint8 and `labels`."""
    content = load_dict(source, shown, _LARGEST_PICKLE)
    data, labels = content.get("data"), content.get("labels")
    if not isinstance(data, np.ndarray) or data.shape != X.shape or data.dtype != np.uint8:
        raise InputError(f"{shown} must hold 'data', an array of {X.shape} uint8")
    if not isinstance(labels, list) or len(labels) != len(y) or {*map(type, labels)} != {int}:
        raise InputError(f"{shown} must hold 'labels', a list of {len(y):,} whole numbers")
    _check_labels(np.asarray(labels), shown)
    X[:], y[:] = data, labels


def _check_labels(labels: NDArray[Any], shown: str) -> None:
    wrong = np.flatnonzero((labels < 0) | (labels >= len(CLASS_NAMES)))
    if len(wrong):
        row = int(wrong[0])
        raise InputError(f"{shown}: image {row} has label {labels[row]}; labels are 0 to 9")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what a file system, gzip or tar can raise into one line."""
    try:
        yield
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except (tarfile.TarError, EOFError, zlib.error, ValueError) as error:
        raise InputError(f"{path} is damaged: {error}") from None
