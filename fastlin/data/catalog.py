"""The data sets fastlin knows by name, where they are looked for, and how they are fetched."""

from __future__ import annotations

import logging
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platformdirs import user_cache_path

from fastlin import files
from fastlin.data import sample, toys
from fastlin.data.beside import Place
from fastlin.data.dataset import Split
from fastlin.data.formats import cifar, cifar100, kaggle
from fastlin.data.reading import files_by_meaning, read_split
from fastlin.data.source import PLACES, DataReference
from fastlin.data.tables import NOTHING_KNOWN, KnownColumns
from fastlin.errors import InputError, MissingDataError, quoted

if TYPE_CHECKING:
    import requests

CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
CIFAR100_URL = "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"
CIFAR10_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"


@dataclass(frozen=True)
class Known:
    """A data set that has a name.

    Attributes
    ----------
    name : str
        By which it is asked for.
    description : str
        One line: what it is and how large.
    source : str
        Where it comes from.
    citation : str
        Whom to cite.
    splits : tuple[str, ...]
        Names of its splits, the default first; empty if it has only one.
    """

    name: str
    description: str
    source: str
    citation: str
    splits: tuple[str, ...] = ()


_UNPACKING = ".unpacking-"  # how the folders begin into which archives are unpacked
_CITATION = "A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009"
CATALOG = {
    known.name: known
    for known in (
        Known(
            sample.NAME,
            "3,000 images of CIFAR-10 that come with fastlin",
            "https://www.cs.toronto.edu/~kriz/cifar.html",
            _CITATION,
        ),
        Known(
            "cifar10",
            "60,000 images of 32 x 32 RGB in ten classes (162 MB to download)",
            CIFAR10_URL,
            _CITATION,
            cifar.SPLITS,
        ),
        Known(
            "cifar100",
            "60,000 images of 32 x 32 RGB in 100 fine classes (161 MB, to be downloaded by hand)",
            CIFAR100_URL,
            _CITATION,
        ),
        *(
            Known(
                name, f"{toy.description} (comes with scikit-learn)",
                f"sklearn.datasets.load_{name}", toy.citation,
            )
            for name, toy in toys.TOYS.items()
        ),
    )
}  # fmt: skip


def load_split(
    data: str | Path = sample.NAME,
    split: str | None = None,
    data_dir: str | Path | None = None,
    *,
    labels: str | Path | None = None,
    val_data: str | Path | None = None,
    val_labels: str | Path | None = None,
    test_data: str | Path | None = None,
    test_labels: str | Path | None = None,
    scale: float | None = None,
    val_fraction: float | None = None,
    sample_weight: str | Path | None = None,
    memory: str | None = None,
) -> Split:
    """Load a data set by name or path.

    Parameters
    ----------
    data : str or Path
        The name of a data set (``fastlin data list``), or a path: a file of any format in
        `.formats.registry`, a folder of such files called X_train, y_train, ..., a folder of
        images by class, or CIFAR. A name means the data set, even if there is a folder of that
        name: that one is ``./cifar10``. ``PATH:NAME`` is the array or column NAME of a file.
    split : str, optional
        Of CIFAR-10: ``assignment`` (the default) or ``full``.
    data_dir : str or Path, optional
        Where to look for ``cifar10`` and ``cifar100``; by default in the folder in the environment
        variable FASTLIN_DATA, or else the user's cache, into which CIFAR-10 is downloaded.
    labels : str or Path, optional
        Labels of the training rows that are not with them: a file, ``PATH:NAME``, or ``:NAME`` for
        an array or column of the file of the rows.
    val_data, val_labels, test_data, test_labels : str or Path, optional
        Validation and test rows, where they are not in `data`, and their labels.
    scale, val_fraction : float, optional
        Factor of stored values (1/255 for uint8, else 1); share to hold out (`Split.hold_out`).
    sample_weight : str or Path, optional
        How much each training row counts, named as `labels`; ``:NAME`` also of rows in other files.
    memory : str, optional
        What rows may take, such as ``2GB``; larger ones stay in files. By default half of all.

    Returns
    -------
    Split
        With its `source`. What was converted or left out is a `fastlin.errors.DataWarning`.

    Raises
    ------
    InputError
        If the data are unknown, not found or damaged, or an argument does not apply to them.
    PackageError
        If a package is not installed.
    """
    given = _given(
        data, split, data_dir, scale, val_fraction, memory, labels=labels, val_data=val_data,
        val_labels=val_labels, test_data=test_data, test_labels=test_labels,
        sample_weight=sample_weight,
    )  # fmt: skip
    return load_reference(given)


def load_reference(given: DataReference, known: KnownColumns = NOTHING_KNOWN) -> Split:
    """Load the data of a reference as `load_split` does, by what a model knows of their columns."""
    found = _load(given, known).with_scale(given.scale)
    found = found if given.val_fraction is None else found.hold_out(given.val_fraction)
    return replace(found, source=_absolute(replace(given, sha256=None)))


def reference_of(
    data: str | Path,
    split: str | None = None,
    data_dir: str | Path | None = None,
    scale: float | None = None,
    val_fraction: float | None = None,
    memory: str | None = None,
    **places: str | Path | None,
) -> DataReference:
    """Return a reference to data in which paths are absolute, so that they are found again.

    Arguments are those of `load_split`; a data set's name means that, whatever else lies here.

    Raises
    ------
    InputError
        If a path cannot be looked up.
    """
    return _absolute(_given(data, split, data_dir, scale, val_fraction, memory, **places))


def _given(
    data: str | Path,
    split: str | None,
    data_dir: str | Path | None,
    scale: float | None,
    val_fraction: float | None,
    memory: str | None,
    **places: str | Path | None,
) -> DataReference:
    """Return a reference to data as they were named."""
    if not isinstance(data, str):
        data = str(files.as_path(data))
        if data in CATALOG:  # a path is a path
            data = f"./{data}"
    places["data_dir"] = data_dir
    texts = {name: None if at is None else str(files.as_path(at)) for name, at in places.items()}
    texts |= {"memory": memory}
    return DataReference(data, split, scale=scale, val_fraction=val_fraction, **texts)


def _absolute(given: DataReference) -> DataReference:
    if given.data_dir is not None:
        files.check_reachable(given.data_dir)
        given = replace(given, data_dir=str(Path(given.data_dir).resolve()))
    places: dict[str, Any] = {
        name: Place.of(text).absolute(text) for name in PLACES
        if (text := getattr(given, name)) is not None and text not in CATALOG
    }  # fmt: skip
    return replace(given, **places)


def _load(given: DataReference, known: KnownColumns) -> Split:
    data, split = given.data, given.split
    own = [name for name in PLACES[1:] if getattr(given, name) is not None]
    if data in CATALOG and own:
        raise InputError(f"{data} has labels and parts of its own; leave out {own[0]}")
    if data == "cifar10":
        return cifar.load(_find_cifar10(given.data_dir), split)
    if data == "cifar100" and split is None:
        return cifar100.load(_find_cifar100(given.data_dir))
    if given.data_dir is not None:
        raise InputError(f"data_dir is where to look for cifar10; it has no meaning for {data}")
    if data not in CATALOG and not own:
        load, place = _find_cifar(files.expand_home(data))
        if load is not None and (split is None or load is not cifar100.load):
            return load(place) if split is None else load(place, split)
    if split is not None:
        raise InputError(f"{data} has one split only; leave out split {quoted(split)}")
    if data == sample.NAME:
        return sample.load()
    return toys.load(data) if data in CATALOG else _load_path(given, known)


def _find_cifar(path: Path) -> tuple[Callable[..., Split] | None, Path]:
    """Return what reads CIFAR at a path, None if it is not there or arrays are, and where it is."""
    if files.is_file_or_folder(path) and not (path.is_dir() and files_by_meaning(path)):
        for kind in (cifar, kaggle, cifar100):
            place = kind.find(path)
            if place is not None:
                return kind.load, place
    return None, path


_ELSEWHERE = "if it lies elsewhere, name the folder with FASTLIN_DATA or data_dir"


def is_cifar(path: Path) -> bool:
    """Return whether CIFAR lies at a path, and no arrays do, so that `load_split` reads it."""
    return _find_cifar(path)[0] is not None


def _load_path(given: DataReference, known: KnownColumns) -> Split:
    path = Place.of(given.data).path
    if path.exists():
        return read_split(given, known)
    if path.suffix or len(path.parts) > 1:
        raise InputError(f"there is no file {path}")
    raise InputError(f"unknown data {given.data!r}: neither a file nor one of {', '.join(CATALOG)}")


def data_place(data_dir: str | Path | None) -> tuple[Path, str]:
    """Return the one folder in which named data are looked for, and who named it."""
    if data_dir is not None:
        return files.expand_home(data_dir), "data_dir"
    if os.environ.get("FASTLIN_DATA"):
        return files.expand_home(os.environ["FASTLIN_DATA"]), "FASTLIN_DATA"
    try:
        return user_cache_path("fastlin") / "data", "cache"
    except RuntimeError:
        raise InputError("there is no home folder; say where data are with data_dir") from None


def locate_cifar10(data_dir: str | Path | None = None) -> Path | None:
    """Return the CIFAR-10 folder or archive that would be loaded, None if there is none."""
    return cifar.find(data_place(data_dir)[0])


def _find_cifar10(data_dir: str | Path | None) -> Path:
    place, named_by = data_place(data_dir)
    found = cifar.find(place) if files.is_file_or_folder(place) else None
    if found is not None:
        return found
    if named_by == "cache":
        return fetch_cifar10(place)
    raise MissingDataError(
        f"no CIFAR-10 in {place} ({named_by}); "
        f"`fastlin data fetch cifar10 --data-dir {place}` downloads it there; {_ELSEWHERE}"
    )


def _find_cifar100(data_dir: str | Path | None) -> Path:
    place, named_by = data_place(data_dir)
    found = cifar100.find(place) if files.is_file_or_folder(place) else None
    if found is None:
        raise MissingDataError(
            f"no CIFAR-100 in {place} ({named_by}); download {CIFAR100_URL} and put it there; "
            f"{_ELSEWHERE}"
        )
    return found


def fetch_cifar10(place: str | Path, url: str | None = None) -> Path:
    """Download CIFAR-10's binary distribution, check its MD5, and return the unpacked folder.

    An archive that is already in `place` is taken instead, if it has the right MD5. The folder
    appears only when it is complete.

    Parameters
    ----------
    place : str or Path
        The folder to put it in; made if need be.
    url : str, optional
        Of a mirror; None for the original.

    Raises
    ------
    InputError
        If it cannot be downloaded or written, or is not the right file; says what to do by hand.
    """
    place, url = files.as_path(place), url or CIFAR10_URL
    folder, archive = place / cifar.BINARY_FOLDER, place / cifar.BINARY_ARCHIVE
    if cifar.find(folder) is not None:
        return folder
    import pooch  # noqa: PLC0415  (takes 0.2 s)
    import requests  # noqa: PLC0415

    by_hand = f"download it by other means and put it at {archive}"
    try:
        place.mkdir(parents=True, exist_ok=True)
        with files.locked(place, wait=True) as is_locked:
            if cifar.find(folder) is not None:  # by a process that was waited for
                return folder
            for left in place.glob(f"{_UNPACKING}*") if is_locked else ():  # by a killed process
                shutil.rmtree(left, ignore_errors=True)
            with tempfile.TemporaryDirectory(dir=place, prefix=_UNPACKING) as temporary:
                source = archive
                if not archive.is_file() or pooch.file_hash(archive, "md5") != CIFAR10_MD5:
                    downloader = pooch.HTTPDownloader(progressbar=True, timeout=30)
                    source = Path(temporary) / archive.name
                    with _only_errors(pooch.get_logger()):  # the progress bar says it all
                        pooch.retrieve(
                            url, f"md5:{CIFAR10_MD5}", archive.name, temporary,
                            downloader=downloader,
                        )  # fmt: skip
                with tarfile.open(source) as content:
                    content.extractall(temporary, filter="data")
                _move_folder(Path(temporary) / cifar.BINARY_FOLDER, folder)
            archive.unlink(missing_ok=True)
    except requests.RequestException as error:
        raise MissingDataError(
            f"cannot download {url} ({_reason(error)}); {by_hand}; {_ELSEWHERE}"
        ) from None
    except (ValueError, EOFError, tarfile.TarError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"what came from {url} is not CIFAR-10 ({reason}); {by_hand}") from None
    except OSError as error:
        raise InputError(f"cannot write to {place}: {error.strerror or error}") from None
    return folder


@contextmanager
def _only_errors(logger: logging.Logger) -> Iterator[None]:
    """Drop what a library logs below the level of an error, as long as the body runs.

    A filter, not the level: two threads that put back a level can put back each other's.
    """

    def is_error(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR

    logger.addFilter(is_error)
    try:
        yield
    finally:
        logger.removeFilter(is_error)


def _move_folder(source: Path, target: Path) -> None:
    """Give a folder its name, unless another process, where none can be locked, was faster."""
    try:
        source.replace(target)
    except OSError:
        if cifar.find(target) is None:
            raise


def _reason(error: requests.RequestException) -> str:
    """Return a few words for what requests tells in many."""
    if error.response is not None:
        return f"the server says {error.response.status_code} {error.response.reason}"
    return "no connection" if "Connection" in type(error).__name__ else type(error).__name__
