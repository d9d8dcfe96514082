"""CIFAR-10 as it is distributed: binary or Python, as a folder or as a .tar.gz archive.

A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009: 32 x 32 RGB images of
ten classes in five training batches and one test batch of 10,000 images each.
"""

from __future__ import annotations

import gzip
import os
import re
import stat
import tarfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from fastlin.data.dataset import Dataset, Split
from fastlin.data.formats.safe_pickle import load_dict
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
_RECORD = 1 + PIXELS  # bytes of a label and an image in the binary distribution

# The largest batch file of the Python distribution has 31,035,999 bytes.
_LARGEST_PICKLE = 40_000_000

# The archives have 184 and 187 million bytes when they are unpacked.
_LARGEST_ARCHIVE = 400_000_000
_MOST_HEADERS = 10_000
_LARGEST_NAME = 65_536  # bytes of a tar header that has nothing but a long name
_SHOWN_LETTERS = 60  # of a member's name
_TAR_BLOCK = 512
_PAX_PATH = re.compile(rb"(?:^|\n)[0-9]+ path=([^\n]*)\n")


def find(place: Path) -> Path | None:
    """Return the CIFAR-10 folder or archive at `place` or directly inside it, None if none is."""
    if _is_folder(place) or (place.name.endswith((".tar.gz", ".tgz")) and _is_file(place)):
        return place
    for name in (BINARY_FOLDER, PYTHON_FOLDER):
        if _is_folder(place / name):
            return place / name
    for name in (BINARY_ARCHIVE, PYTHON_ARCHIVE):
        if _is_file(place / name):
            return place / name
    return None


def _is_folder(path: Path) -> bool:
    """Whether any batch is there: a folder that lacks some is reported by name when it is read."""
    names = (*TRAIN_BATCHES, TEST_BATCH)
    return any(_is_file(path / f"{name}{suffix}") for name in names for suffix in ("", ".bin"))


def _is_file(path: Path) -> bool:
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
    batches = _batches_of_archive if _is_file(path) else _batches_of_folder
    with closing(batches(path, names)) as found:
        for name, is_binary, content, shown in found:
            start = names.index(name) * BATCH_ROWS
            rows = slice(start, start + BATCH_ROWS)
            (_read_binary if is_binary else _read_pickled)(content, shown, X[rows], y[rows])
    return X, y


# The name of a batch, whether it is of the binary distribution, its content, and what to call it.
_Batches = Generator[tuple[str, bool, bytes, str], None, None]


def _batches_of_folder(path: Path, names: tuple[str, ...]) -> _Batches:
    for name in names:
        binary, pickled = path / f"{name}.bin", path / name
        found = binary if os.path.lexists(binary) else pickled
        if not os.path.lexists(found):
            raise InputError(
                f"{_shown(path)} has no {name} (neither {name}.bin nor a pickle {name})"
            )
        with _readable(found), _open(found) as file:
            content = file.read(_largest(is_binary=found is binary) + 1)
        yield name, found is binary, content, _shown(found)


def _batches_of_archive(path: Path, names: tuple[str, ...]) -> _Batches:
    """Read a .tar.gz once, to its end, without unpacking it to disk.

    To its end, because only there a checksum tells whether what came before is intact.
    """
    missing = list(names)
    with _readable(path), _open(path) as compressed, gzip.GzipFile(fileobj=compressed) as file:
        archive = _Archive(file, _shown(path))
        for member_name, member in archive.members():
            name, _, suffix = member_name.rpartition("/")[2].partition(".")
            if name not in names or suffix not in {"", "bin"}:
                continue
            shown = f"{_shown(member_name[-_SHOWN_LETTERS:])} in {_shown(path)}"
            if name not in missing:
                raise InputError(f"{shown} is the second {name} there; there must be one")
            if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
                raise InputError(f"{shown} is a link or something else that is no plain file")
            is_binary = suffix == "bin"
            content = archive.read(min(member.size, _largest(is_binary=is_binary) + 1))
            yield name, is_binary, content, shown
            missing.remove(name)
        archive.read_to_end()
    if missing:
        raise InputError(f"{_shown(path)} has no {missing[0]}; it is not an archive of CIFAR-10")


class _Archive:
    """The members of a tar archive that is read once, from its front to its end.

    `tarfile` itself reads headers of any size into memory, and can take for ever over some. Here it
    takes apart headers of one block only; of the others nothing but long names matters.
    """

    def __init__(self, file: gzip.GzipFile, shown: str) -> None:
        self._file = file
        self._shown = shown
        self._position = 0

    def read(self, size: int) -> bytes:
        """Read as many bytes. Raises InputError if there are fewer, or were too many already."""
        self._advance(size)
        content = self._file.read(size)
        if len(content) < size:
            raise InputError(f"{self._shown} is damaged: it is cut short")
        return content

    def members(self) -> Iterator[tuple[str, tarfile.TarInfo]]:
        """Give names and headers; the content of a member is read in between, or skipped."""
        long_name: str | None = None
        for _ in range(_MOST_HEADERS):
            header = self.read(_TAR_BLOCK)
            if not header.strip(b"\0"):
                return
            member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
            if member.size < 0:
                raise InputError(f"{self._shown} is damaged: a member has a size below 0")
            # Links have no content, whatever their headers say.
            size = 0 if member.type in (tarfile.LNKTYPE, tarfile.SYMTYPE) else member.size
            end = self._position + size + -size % _TAR_BLOCK
            if member.type in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE):
                if size > _LARGEST_NAME:
                    raise InputError(f"{self._shown} has a header of {size:,} bytes")
                content = self.read(size)
                long_name = _long_name(content, is_pax=member.type == tarfile.XHDTYPE) or long_name
            elif member.type not in (tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE):
                yield long_name or member.name, member
                long_name = None
            self._skip(end - self._position)
        raise self._too_much(f"{_MOST_HEADERS:,} members")

    def read_to_end(self) -> None:
        """Read what comes after the last member, so that checksums are checked."""
        while content := self._file.read(_LARGEST_NAME):
            self._advance(len(content))

    def _advance(self, size: int) -> None:
        self._position += size
        if self._position > _LARGEST_ARCHIVE:
            raise self._too_much(f"{_LARGEST_ARCHIVE:,} bytes when it is unpacked")

    def _too_much(self, limit: str) -> InputError:
        return InputError(f"{self._shown} has more than {limit}; it is not an archive of CIFAR-10")

    def _skip(self, size: int) -> None:
        while size > 0:
            size -= len(self.read(min(size, _LARGEST_NAME)))


def _long_name(content: bytes, *, is_pax: bool) -> str | None:
    """Return the name that a header gives to the next member, None if it gives none."""
    if is_pax:
        found = _PAX_PATH.search(content)
        content = found[1] if found else b""
    return content.rstrip(b"\0").decode("utf-8", "surrogateescape") or None


def _largest(*, is_binary: bool) -> int:
    """Return the number of bytes that a batch has, or, as a pickle, can have."""
    return BATCH_ROWS * _RECORD if is_binary else _LARGEST_PICKLE


def _read_binary(content: bytes, shown: str, X: NDArray[np.uint8], y: NDArray[np.int64]) -> None:
    """Read records of 1 label byte and 3,072 pixel bytes: red, green, blue, each row by row."""
    size = len(y) * _RECORD
    if len(content) < size:
        raise InputError(f"{shown} ends after {len(content):,} bytes; it must have {size:,}")
    if len(content) > size:
        raise InputError(f"{shown} goes on after {size:,} bytes; it must have just those")
    records = np.frombuffer(content, np.uint8).reshape(len(y), _RECORD)
    X[:], y[:] = records[:, 1:], records[:, 0]
    _check_labels(y.tolist(), shown)


def _read_pickled(content: bytes, shown: str, X: NDArray[np.uint8], y: NDArray[np.int64]) -> None:
    """Read a pickled dict with `data` (rows, 3072) uint8 and `labels`."""
    if len(content) > _LARGEST_PICKLE:
        raise InputError(
            f"{shown} has more than {_LARGEST_PICKLE:,} bytes; it is no batch of CIFAR-10"
        )
    batch = load_dict(content, shown)
    data, labels = batch.get("data"), batch.get("labels")
    if not isinstance(data, np.ndarray) or data.shape != X.shape or data.dtype != np.uint8:
        raise InputError(f"{shown} must hold 'data', an array of {X.shape} uint8")
    if not isinstance(labels, list) or len(labels) != len(y) or {*map(type, labels)} != {int}:
        raise InputError(f"{shown} must hold 'labels', a list of {len(y):,} whole numbers")
    _check_labels(labels, shown)
    X[:], y[:] = data, labels


def _check_labels(labels: list[int], shown: str) -> None:
    for row, label in enumerate(labels):
        if not 0 <= label < len(CLASS_NAMES):
            number = str(label) if abs(label) < 2**63 else "of more than 63 bits"
            raise InputError(f"{shown}: image {row} has label {number}; labels are 0 to 9")


def _shown(path: Path | str) -> str:
    """Return a path for an error message: in quotes if it could not be printed on one line."""
    text = str(path)
    return text if text.isprintable() else repr(text)


def _open(path: Path) -> IO[bytes]:
    """Open a file. Raises InputError if it is none, such as a pipe, which could be waited for."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise InputError(f"{_shown(path)} is not a file")
    return path.open("rb")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what a file system, gzip or tar can raise into one line."""
    try:
        yield
    except gzip.BadGzipFile as error:
        raise InputError(f"{_shown(path)} is damaged: {error}") from None
    except OSError as error:
        raise InputError(f"cannot read {_shown(path)}: {error.strerror or error}") from None
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise InputError(f"{_shown(path)} is damaged: {error}") from None
