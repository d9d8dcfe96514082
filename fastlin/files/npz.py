"""The arrays of .npz and .npy files: written by NumPy, headers read without it.

NumPy evaluates headers as Python; here they are matched.
"""

from __future__ import annotations

import errno
import math
import os
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from fastlin.errors import DataWarning, InputError, quoted
from fastlin.files.kinds import OFFICE, PYTORCH, kind_of
from fastlin.files.opening import open_regular, reason_in_short
from fastlin.files.writing import atomic_write

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LONGEST_HEADER = 10_000  # bytes of the header of an array; NumPy's own limit
_MOST_DEFLATED = 1032  # bytes that one byte of deflate can stand for
_DESCRIPTORS = (12, 16, 20, 24)  # sizes of what may follow a zip member that was written to a pipe
_CHUNK = 1 << 20
_LEAST_MAPPED = 1 << 20  # bytes; smaller arrays are read, so that their file is not held
_MUCH_MEMORY = 1 << 30  # bytes of an array that is read where others would be mapped
_OBJECTS = "|O"  # the dtype of Python objects
_AS_PLAIN_VALUES = "save plain numbers, or text: y.astype(str)"
_OF_DAMAGED_ARCHIVES = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    ValueError,
    OverflowError,
    TypeError,
    LookupError,
    AttributeError,
    EOFError,
    RuntimeError,
    OSError,
)
_NPY_MAGIC = b"\x93NUMPY"


ReadObjects: TypeAlias = "Callable[[bytes, tuple[int, ...]], NDArray[Any]]"


class OtherFormatError(InputError):
    """A file is of another kind than its reader takes.

    Attributes
    ----------
    kind : str
        What it is, with an article: one of `KINDS`.
    """

    def __init__(self, path: str | Path, kind: str, suffix: str = ".npz") -> None:
        super().__init__(f"{path} is {kind}, not a {suffix} file")
        self.kind = kind


def save_npz(path: str | Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays as a .npz file.

    They are written by a thread of their own, which no signal interrupts: a zip file that is
    interrupted cannot be closed, and raises another error in the place of KeyboardInterrupt.

    Parameters
    ----------
    path : str or Path
    arrays : Mapping[str, NDArray]
        By name.

    Raises
    ------
    InputError
        If it cannot be written; what was at `path` is still there.
    """
    import numpy as np  # noqa: PLC0415  (the command line shows its help without it)

    def write() -> None:
        with atomic_write(path) as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    with ThreadPoolExecutor(1) as writer:
        writer.submit(write).result()


def read_npz(
    path: str | Path,
    is_wanted: Callable[[str], bool] | None = None,
    *,
    is_mapped: bool = False,
    read_objects: ReadObjects | None = None,
) -> dict[str, NDArray[Any]]:
    """Return the arrays of a .npz file, as `numpy.savez` and `savez_compressed` write it.

    Every member is read to its end, where its checksum is compared. Sizes are checked against that
    of the file before memory is taken.

    Parameters
    ----------
    path : str or Path
    is_wanted : Callable[[str], bool], optional
        Whether an array is to be returned, by its name. Of others, which may be of any kind, only
        the checksums are compared.
    is_mapped : bool
        Whether large arrays are read-only memory maps: those that are not compressed, and lie in
        the file at a multiple of the size of their values, as kernels need it. Others are read.
    read_objects : Callable[[bytes, tuple[int, ...]], NDArray], optional
        Makes an array of Python objects of its pickle and its shape, or raises InputError with the
        reason. Without it such arrays are refused.

    Returns
    -------
    dict[str, NDArray]
        By name, in the order of the file.

    Raises
    ------
    OtherFormatError
        If it is a file of another kind.
    InputError
        If it is missing, damaged, too large, or a member is no array of plain values.
    """
    with open_regular(path) as file:
        start = file.read(4096)
        if start[:4] not in {b"PK\3\4", b"PK\5\6"}:  # the second: an archive of nothing
            raise OtherFormatError(path, kind_of(start))
        file.seek(0)
        try:
            with zipfile.ZipFile(file) as archive:
                mapped_file, arrays = file if is_mapped else None, {}
                for name, info in _members(path, file, archive).items():
                    if is_wanted is not None and not is_wanted(name):
                        _read_to_end(archive, info)
                        continue
                    arrays[name] = _read_array(path, archive, info, mapped_file, read_objects)
                return arrays
        except InputError:
            raise
        except MemoryError:
            raise InputError(f"{path} does not fit into memory") from None
        except _OF_DAMAGED_ARCHIVES as error:
            if isinstance(error, OSError) and error.errno != errno.EINVAL:  # EINVAL: a wrong offset
                raise
            raise InputError(f"{path} is damaged: {reason_in_short(error)}") from None


def _members(
    path: str | Path, file: IO[bytes], archive: zipfile.ZipFile
) -> dict[str, zipfile.ZipInfo]:
    """Return the members by the names of their arrays, checked to fill the file without gaps."""
    infos = archive.infolist()
    names = [info.filename for info in infos]
    if any(name == "data.pkl" or name.endswith("/data.pkl") for name in names):
        raise OtherFormatError(path, PYTORCH)
    if "[Content_Types].xml" in names:
        raise OtherFormatError(path, OFFICE)
    members: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        name = info.filename.removesuffix(".npy")
        if name == info.filename:
            raise InputError(
                f"{path} is a zip archive that holds {quoted(name)}; a .npz file holds arrays, "
                "NAME.npy, and nothing else"
            )
        if name in members:
            raise InputError(f"{path} holds {quoted(name)} twice")
        if info.flag_bits & 1:
            raise InputError(f"{path} is encrypted; a .npz file has no password")
        if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise InputError(
                f"{path} is compressed in a way that NumPy does not use; write it with "
                "numpy.savez_compressed"
            )
        is_stored = info.compress_type == zipfile.ZIP_STORED
        largest = info.compress_size * (1 if is_stored else _MOST_DEFLATED)
        if info.file_size > largest or (is_stored and info.file_size != largest):
            raise ValueError(
                f"{quoted(name)} cannot have {info.file_size:,} bytes, it takes "
                f"{info.compress_size:,} in the file"
            )
        members[name] = info
    # A wrong size in the table of contents can hide a member; then its bytes belong to nobody.
    end, gaps = 0, [0]
    for info in sorted(infos, key=lambda info: info.header_offset):
        _check_gap(info.header_offset - end, gaps)
        file.seek(info.header_offset)
        name_size, extra_size = struct.unpack("<26x2H", file.read(30))
        end = info.header_offset + 30 + name_size + extra_size + info.compress_size
        gaps = [0, *_DESCRIPTORS] if info.flag_bits & 8 else [0]
    _check_gap(archive.start_dir - end, gaps)
    return members


def _check_gap(size: int, allowed: list[int]) -> None:
    if size not in allowed:
        raise ValueError("its parts are not where its table of contents says")


def _read_array(
    path: str | Path,
    archive: zipfile.ZipFile,
    info: zipfile.ZipInfo,
    mapped_file: IO[bytes] | None,
    read_objects: ReadObjects | None,
) -> NDArray[Any]:
    """Read a member to its end, where zipfile compares the checksum."""
    import numpy as np  # noqa: PLC0415  (takes 0.1 s; folders and text are read without it)

    name = info.filename.removesuffix(".npy")
    with archive.open(info) as member:
        descr, is_fortran, shape, header_size = _read_header(member, quoted(name))
        if descr == _OBJECTS and read_objects is not None:
            return _objects(f"{path}: {quoted(name)}", member.read(), shape, read_objects)
        dtype = _plain_dtype(np, f"{path}: {quoted(name)}", descr)
        count = math.prod(shape)
        size = info.file_size - header_size
        if count * dtype.itemsize != size:
            raise ValueError(_wrong_size(quoted(name), size, dtype, shape))
        place = None
        if mapped_file is not None and info.compress_type == zipfile.ZIP_STORED:
            place = _place_of_content(mapped_file, info) + header_size
        if mapped_file is not None and place is not None and _is_mappable(dtype, size, place):
            _read_to_end(archive, info)
            array = np.asarray(np.memmap(mapped_file, dtype, "r", place, (count,)))
        else:
            if mapped_file is not None and size >= _MUCH_MEMORY:
                warnings.warn(
                    f"{path}: {quoted(name)} takes {size / 1e9:.1f} GB of memory; rows in a .npy "
                    "file of their own are read from the disk as they are needed",
                    DataWarning,
                    stacklevel=2,
                )
            array = np.empty(count, dtype)
            left = array.view(np.uint8).data
            while left:
                content = member.read(min(len(left), _CHUNK))
                if not content:
                    raise ValueError(f"{quoted(name)} ends too early")
                left[: len(content)] = content
                left = left[len(content) :]
            if member.read(1):
                raise ValueError(f"{quoted(name)} goes on after its values")
    return array.reshape(shape[::-1]).T if is_fortran else array.reshape(shape)


def _objects(
    shown: str, content: bytes, shape: tuple[int, ...], read_objects: ReadObjects
) -> NDArray[Any]:
    try:
        return read_objects(content, shape)
    except InputError as error:
        raise InputError(
            f"{shown} holds Python objects that are not read: {error}; {_AS_PLAIN_VALUES}"
        ) from None


def _is_mappable(dtype: np.dtype[Any], size: int, place: int) -> bool:
    return size >= _LEAST_MAPPED and dtype.kind in "biufc" and place % dtype.alignment == 0


def _place_of_content(file: IO[bytes], info: zipfile.ZipInfo) -> int:
    """Return where in the file the content of a member begins."""
    file.seek(info.header_offset)
    name_size, extra_size = struct.unpack("<26x2H", file.read(30))
    return info.header_offset + 30 + int(name_size) + int(extra_size)


def _read_to_end(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    with archive.open(info) as member:
        while member.read(_CHUNK):
            pass


def _wrong_size(what: str, size: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> str:
    needed = math.prod(shape) * dtype.itemsize
    return f"{what} has {size:,} bytes, but {needed:,} are needed for {dtype} {quoted(shape)}"


def map_npy(path: str | Path, read_objects: ReadObjects | None = None) -> NDArray[Any]:
    """Return the array of a .npy file, as `numpy.save` writes it, as a read-only memory map.

    A small one, and one whose values lie at odd places, is read.

    Parameters
    ----------
    path : str or Path
    read_objects : Callable[[bytes, tuple[int, ...]], NDArray], optional
        As in `read_npz`.

    Raises
    ------
    OtherFormatError
        If it is a file of another kind.
    InputError
        If it is missing, damaged, or an array of Python objects or of records.
    """
    import numpy as np  # noqa: PLC0415  (takes 0.1 s; folders and text are read without it)

    with open_regular(path) as file:
        start = file.read(4096)
        if not start.startswith(_NPY_MAGIC):
            raise OtherFormatError(path, kind_of(start), ".npy")
        file.seek(0)
        try:
            descr, is_fortran, shape, place = _read_header(file, "it")
            if descr == _OBJECTS and read_objects is not None:
                return _objects(f"{path}: the array", file.read(), shape, read_objects)
            dtype = _plain_dtype(np, f"{path}: the array", descr)
            count, size = math.prod(shape), os.fstat(file.fileno()).st_size - place
            if count * dtype.itemsize != size:
                raise ValueError(_wrong_size("it", size, dtype, shape))
            if _is_mappable(dtype, size, place):
                array = np.asarray(np.memmap(file, dtype, "r", place, (count,)))
            else:
                array = np.frombuffer(file.read(), dtype, count)
            return array.reshape(shape[::-1]).T if is_fortran else array.reshape(shape)
        except InputError:
            raise
        except MemoryError:
            raise InputError(f"{path} does not fit into memory") from None
        except (ValueError, OverflowError, TypeError) as error:
            raise InputError(f"{path} is damaged: {reason_in_short(error)}") from None


_ITEM = re.compile(
    r"""\s*(['"])(?P<key>\w+)\1\s*:\s*"""
    r"""(?P<value>'[^']*'|"[^"]*"|True|False|\([0-9L,\s]*\)|\[.*\])\s*(?:,\s*|$)""",
    re.DOTALL | re.ASCII,
)
_SHAPE = re.compile(r"\(\s*(?:[0-9]{1,19}L?\s*,\s*)*(?:[0-9]{1,19}L?\s*)?\)")  # L: of Python 2
_DTYPE = re.compile(r"[<>|](?:[biufc][0-9]{1,2}|[SUV][0-9]{1,9}|[mM]8(?:\[[0-9]*[A-Za-z]+\])?)")


def _read_header(member: IO[bytes], name: str) -> tuple[str, bool, tuple[int, ...], int]:
    """Return dtype, whether the order is Fortran's, shape, and the size in bytes of a header.

    It is a Python dictionary of three items, which is matched here and not evaluated.
    """
    start = member.read(8)
    if not start.startswith(_NPY_MAGIC) or start[6:] not in {b"\1\0", b"\2\0", b"\3\0"}:
        raise ValueError(f"{name} is no array")
    version, width = start[6], 2 if start[6] == 1 else 4
    length = int.from_bytes(member.read(width), "little")
    if length > _LONGEST_HEADER:
        raise ValueError(f"{name} has a header of {length:,} bytes")
    header = member.read(length)
    text = header.decode("latin1" if version < 3 else "utf-8").strip()
    items: dict[str, str] = {}
    body, place = text[1:-1].strip(), 0
    while found := _ITEM.match(body, place):
        items[found["key"]] = found["value"]
        place = found.end()
        if place == len(body):
            break
    is_whole = text[:1] + text[-1:] == "{}" and place == len(body) and len(header) == length
    if not is_whole or items.keys() != {"descr", "fortran_order", "shape"}:
        raise ValueError(f"{name} has a header that is not NumPy's")
    order, shape = items["fortran_order"], items["shape"]
    if order not in {"True", "False"} or not _SHAPE.fullmatch(shape):
        raise ValueError(f"{name} has a header that is not NumPy's")
    sizes = tuple(int(size) for size in re.findall("[0-9]+", shape))
    descr = items["descr"]
    return descr.strip("'\""), order == "True", sizes, 8 + width + length


def _plain_dtype(numpy: Any, shown: str, descr: str) -> np.dtype[Any]:
    """Return the dtype of a header, of at least one byte; `shown` is the array in messages."""
    if descr.startswith("["):
        raise InputError(f"{shown} holds records; save every column as an array")
    if descr.endswith("O"):
        raise InputError(
            f"{shown} holds Python objects, which are never loaded; {_AS_PLAIN_VALUES}"
        )
    if not _DTYPE.fullmatch(descr):
        raise ValueError(f"there is no dtype {quoted(descr)}")
    dtype: np.dtype[Any] = numpy.dtype(descr)
    if dtype.itemsize == 0:
        raise ValueError(f"values of dtype {quoted(descr)} have no size")
    return dtype
