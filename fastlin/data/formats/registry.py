"""The one table of the formats that data are read in, and the choice among them."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fastlin import files, packages
from fastlin.data.formats.names import is_id_column
from fastlin.errors import DataWarning, InputError
from fastlin.files import OtherFormatError, kinds


@dataclass(frozen=True)
class Format:
    """A way in which arrays are kept in a file.

    Attributes
    ----------
    name : str
        What people call it.
    module : str
        In this package, with a function ``read(path, wanted)`` that returns the arrays (or
        columns) by name that a `Wanted` wants. A single array without a name is called "".
    suffixes : tuple[str, ...]
        Of its files.
    kinds : tuple[str, ...]
        What `fastlin.files.kinds.kind_of` calls the content of its files.
    packages : tuple[str, ...]
        What must be installed to read it.
    is_table : bool
        Whether the arrays are the columns of a table.
    """

    name: str
    module: str
    suffixes: tuple[str, ...]
    kinds: tuple[str, ...]
    packages: tuple[str, ...] = ()
    is_table: bool = False


FORMATS = (
    Format("NumPy array", "npy", (".npy",), (kinds.ONE_ARRAY,)),
    Format("NumPy archive", "npz", (".npz",), (kinds.ZIP,)),
    Format(
        "Parquet", "arrow", (".parquet", ".pq"), (kinds.PARQUET,), ("pyarrow",), is_table=True
    ),
    Format(
        "Arrow", "arrow", (".arrow", ".feather", ".ipc"), (kinds.ARROW, kinds.FEATHER),
        ("pyarrow",), is_table=True,
    ),
    Format(
        "CSV", "csv_text", (".csv", ".tsv", ".txt", ".tab"), (kinds.TABLE, kinds.TEXT),
        is_table=True,
    ),
    Format("safetensors", "safetensor", (".safetensors",), (kinds.SAFETENSORS,), ("safetensors",)),
    Format("HDF5", "hdf5", (".h5", ".hdf5", ".hdf"), (kinds.HDF5,), ("h5py",)),
    Format("PyTorch", "pytorch", (".pt", ".pth"), (kinds.PYTORCH, kinds.PICKLE), ("torch",)),
)  # fmt: skip

# Of packages that the extra `formats` does not install.
_OWN_INSTALLATION = ("torch",)

# The line that makes of another kind of file one that is read.
CONVERSIONS = {
    kinds.MATLAB: "m = scipy.io.loadmat({path!r}); numpy.savez('data.npz', X=m['X'], y=m['y'])",
    kinds.OFFICE: "pandas.read_excel({path!r}).to_csv('data.csv', index=False)",
    kinds.JSON: "pandas.read_json({path!r}).to_csv('data.csv', index=False)",
    kinds.SQLITE: "pandas.read_sql('select * from NAME', sqlite3.connect({path!r}))"
    ".to_csv('data.csv', index=False)",
}


@dataclass
class Wanted:
    """Which arrays of a file are wanted; remembers the names of all that it was asked about.

    Attributes
    ----------
    of_arrays, of_columns : Callable[[str], bool]
        Whether an array of a file, or a column of a table, is wanted, by its name.
    of_labels : Callable[[str], bool]
        Whether a wanted column of a table would be labels, which are not to lose how they are
        written.
    of_ids : Callable[[str], bool]
        Whether one would be ids, which stay text where they are no plain whole numbers.
    most_bytes : int or None
        Arrays of more bytes, (n, d), are to stay in a file: this one, or a temporary one.
    is_table : bool
        Whether what is asked about are columns; known when the format is.
    names, left_out : list[str]
        Of those that were wanted, and of the others.
    """

    of_arrays: Callable[[str], bool]
    of_columns: Callable[[str], bool]
    of_labels: Callable[[str], bool]
    of_ids: Callable[[str], bool] = is_id_column
    most_bytes: int | None = None
    is_table: bool = False
    names: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def __call__(self, name: str) -> bool:
        """Return whether the array of a name is wanted."""
        is_wanted = (self.of_columns if self.is_table else self.of_arrays)(name)
        (self.names if is_wanted else self.left_out).append(name)
        return is_wanted

    def is_large(self, size: int) -> bool:
        """Return whether an array of so many bytes is to stay in a file."""
        return self.most_bytes is not None and size > self.most_bytes


def read_arrays(path: Path, wanted: Wanted) -> tuple[Format, dict[str, NDArray[Any]]]:
    """Return the wanted arrays of a file of any format, and which format it is.

    Parameters
    ----------
    path : Path
        Of a file.
    wanted : Wanted
        Is asked about every array, save one without a name, which is always returned.

    Raises
    ------
    OtherFormatError
        If no format is known by the content of the file.
    InputError
        If the file is missing, damaged, or holds what is no plain array.
    PackageError
        If a package is missing that reads it.
    """
    format_of_file = _format_of(path)
    try:
        return format_of_file, _read(format_of_file, path, wanted)
    except OtherFormatError as error:  # of an archive, whose kind its members tell
        other = _by_kind(error.kind)
        if other is None or other == format_of_file:
            raise unknown(path, error.kind) from None
        return other, _read(other, path, wanted)


def _read(chosen: Format, path: Path, wanted: Wanted) -> dict[str, NDArray[Any]]:
    for package in chosen.packages:
        extra = None if package in _OWN_INSTALLATION else "formats"
        packages.load(package, extra, f"{path}: reading {chosen.name}")
    module = importlib.import_module(f"fastlin.data.formats.{chosen.module}")
    wanted.is_table = chosen.is_table
    arrays: dict[str, NDArray[Any]] = module.read(path, wanted)
    return arrays


def _format_of(path: Path) -> Format:
    """Return the format of a file by its content; by its suffix where that is text of any kind."""
    with files.open_regular(path) as file:
        kind = kinds.kind_of(file.read(4096))
    suffix = path.suffix.lower()
    by_suffix = next((known for known in FORMATS if suffix in known.suffixes), None)
    by_content = _by_kind(kind)
    if by_content is None or (kind in {kinds.TEXT, kinds.PICKLE} and by_suffix != by_content):
        raise unknown(path, kind)
    if by_suffix not in (None, by_content) and kind != kinds.ZIP:
        warnings.warn(f"{path} is {kind}, and is read as such", DataWarning, stacklevel=2)
    return by_content


def _by_kind(kind: str) -> Format | None:
    return next((known for known in FORMATS if kind in known.kinds), None)


def unknown(path: Path, kind: str) -> InputError:
    """Return the error for a file that no format reads; it says how to convert the file."""
    convert = CONVERSIONS.get(kind)
    how = f": {convert.format(path=str(path))}" if convert else ""
    names = ", ".join(known.name for known in FORMATS)
    return InputError(f"{path} is {kind}; fastlin reads {names}{how}")
