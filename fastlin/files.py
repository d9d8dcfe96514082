"""Everything that touches a disk: written whole or not at all, read without trust.

What is written goes to a temporary file in the same folder, is flushed to the disk, and takes the
place of the old file in one step. What is read may be damaged, of another kind, or made to do harm:
every reader raises `InputError` with one line that names the file, and nothing read is executed.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import errno
import io
import json
import math
import os
import re
import secrets
import stat
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from fastlin.errors import InputError, quoted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LARGEST_TEXT = 1 << 28  # bytes of a JSON or CSV file
_DEEPEST_JSON = 100  # lists and objects within one another
_LONGEST_INT = 20  # digits; a JSON number with more is read as a float
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")

_LONGEST_HEADER = 10_000  # bytes of the header of an array; NumPy's own limit
_MOST_DEFLATED = 1032  # bytes that one byte of deflate can stand for
_DESCRIPTORS = (12, 16, 20, 24)  # sizes of what may follow a zip member that was written to a pipe
_CHUNK = 1 << 20

_TEMPORARY = re.compile(r"\..+-[0-9a-f]{8}\.fastlin-tmp")


class MissingFileError(InputError):
    """There is no such file."""


class OtherFormatError(InputError):
    """A file is of another kind than its reader takes.

    Attributes
    ----------
    kind : str
        What it is, with an article: one of `KINDS`.
    """

    def __init__(self, path: Path, kind: str) -> None:
        super().__init__(f"{path} is {kind}, not a .npz file")
        self.kind = kind


def as_path(path: str | os.PathLike[str]) -> Path:
    """Return a path given as text or as an object of a path. Raises InputError if it is neither."""
    try:
        return Path(path)
    except TypeError:
        raise InputError(f"a path is {quoted(path)}; it must be text or a Path") from None


# --- writing ---------------------------------------------------------------------------------


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file beside `path` that takes its place when the body ends well.

    The content is on the disk before the file gets its name, so that a power cut leaves the old
    file or the new one. Temporary files that killed processes left in the folder are removed.

    Parameters
    ----------
    path : Path

    Yields
    ------
    IO[bytes]
        To be written, and read again.

    Raises
    ------
    InputError
        If it cannot be written; what was at `path` is still there.
    """
    temporary = None
    try:
        sweep(path.parent)
        descriptor, temporary = _create_temporary(path)
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            to_disk(file)
            if sys.platform != "win32":  # still locked: no sweep can take it before it is moved
                temporary.replace(path)
        if sys.platform == "win32":  # an open file cannot be moved there
            temporary.replace(path)
        temporary = None
        flush_folder(path.parent)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()


def _create_temporary(path: Path) -> tuple[int, Path]:
    """Create and lock a file of a new name; return its descriptor and path.

    A sweep may remove the file between its creation and the lock. Then it has no link any more,
    and another one is made.
    """
    while True:
        name = f".{path.name[:50]}-{secrets.token_hex(4)}.fastlin-tmp"
        temporary = path.with_name(name)
        try:
            descriptor = os.open(temporary, _NEW_FILE, 0o666)  # less the umask
        except FileExistsError:
            continue
        try_lock(descriptor, wait=True)
        if os.fstat(descriptor).st_nlink > 0:
            return descriptor, temporary
        os.close(descriptor)


_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


def sweep(folder: Path) -> None:
    """Remove the temporary files that killed processes left in a folder.

    A temporary file is locked by the process that writes it, so one that can be locked is left
    over. On Windows, where files are not locked, they stay.

    Parameters
    ----------
    folder : Path
        One that cannot be read is left as it is.
    """
    if sys.platform == "win32":
        return
    with contextlib.suppress(OSError):
        for path in [path for path in folder.iterdir() if _TEMPORARY.fullmatch(path.name)]:
            with contextlib.suppress(OSError):
                descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
                try:
                    if try_lock(descriptor):
                        path.unlink()
                finally:
                    os.close(descriptor)


def save_json(path: Path, content: Any) -> None:
    """Write a JSON file. Raises InputError if it cannot be written; the old one remains."""
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    with atomic_write(path) as file:
        file.write(text.encode())


def make_directory(path: Path) -> Path:
    """Make a folder if it is not there, and return it. Raises InputError if that fails."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make {path}: {error.strerror or error}") from None
    return path


def to_disk(file: IO[bytes]) -> None:
    """Wait until what was written to a file is on the disk. Raises OSError if that fails."""
    file.flush()
    os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where the system can do that."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# --- locks -----------------------------------------------------------------------------------


def try_lock(descriptor: int, *, wait: bool = False) -> bool:
    """Lock an open file or folder until it is closed, or the process ends in any way.

    Parameters
    ----------
    descriptor : int
    wait : bool
        Wait for another process that holds the lock.

    Returns
    -------
    bool
        False if it cannot be locked: on Windows, and on some network file systems.

    Raises
    ------
    BlockingIOError
        If another process holds the lock.
    """
    if sys.platform == "win32":
        return False
    import fcntl  # noqa: PLC0415  (there is none on Windows)

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


@contextmanager
def locked(folder: Path, *, wait: bool = False) -> Iterator[bool]:
    """Hold the lock of a folder, which must exist, for the length of the body.

    Parameters
    ----------
    folder : Path
    wait : bool
        Wait for another process that holds it.

    Yields
    ------
    bool
        False if it cannot be locked, see `try_lock`; the body runs all the same.

    Raises
    ------
    InputError
        If another process holds the lock.
    """
    if sys.platform == "win32":
        yield False
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            is_locked = try_lock(descriptor, wait=wait)
        except BlockingIOError:
            raise InputError(f"{folder} is in use by {holder_of(folder)}") from None
        yield is_locked
    finally:
        os.close(descriptor)


def holder_of(path: Path) -> str:
    """Return who holds the lock of a file or folder: ``process 1234``, or ``another process``."""
    with contextlib.suppress(OSError, ValueError):
        inode = path.stat().st_ino
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            # 1: FLOCK ADVISORY WRITE 1234 08:01:5678 0 EOF
            _, kind, _, _, process, place, *_ = line.split()
            if kind == "FLOCK" and place.rpartition(":")[2] == str(inode) and int(process) > 0:
                return f"process {process}"
    return "another process"


# --- reading ---------------------------------------------------------------------------------


def check_reachable(path: Path) -> None:
    """Check that a path can be looked up, whether there is something or not.

    Parameters
    ----------
    path : Path

    Raises
    ------
    InputError
        If it is too long, or leads through a folder that may not be read or a circle of links.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {_reason(error)}") from None


@contextmanager
def open_regular(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for reading; a folder, a device or a pipe is refused before it is opened.

    Parameters
    ----------
    path : Path

    Yields
    ------
    IO[bytes]

    Raises
    ------
    MissingFileError
        If there is none.
    InputError
        If it cannot be read, or is no file.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise MissingFileError(f"{path} is missing") from None
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL
        raise InputError(f"cannot read {path}: {_reason(error)}") from None
    if not stat.S_ISREG(mode):
        names = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
        kind = names.get(stat.S_IFMT(mode), "a device")
        raise InputError(f"{path} is {kind}, not a file")
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise InputError(f"cannot read {path}: {_reason(error)}") from None


def read_bytes(path: Path, largest: int | None = None) -> bytes:
    """Return the content of a file.

    Parameters
    ----------
    path : Path
    largest : int or None
        The most bytes that it may have.

    Raises
    ------
    InputError
        If it is missing, no file, too large, or cannot be read.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if largest is not None and size > largest:
            raise InputError(f"{path} has {size:,} bytes; such a file has at most {largest:,}")
        try:
            return file.read()
        except MemoryError:
            raise InputError(f"{path} does not fit into memory") from None


def _read_text(path: Path) -> str:
    content = read_bytes(path, _LARGEST_TEXT)
    if content.startswith(codecs.BOM_UTF8):
        raise InputError(f"{path} begins with a byte order mark; save it as UTF-8 without one")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8 text: byte {error.start} is 0x{content[error.start]:02x}"
        ) from None


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Numbers are finite; a whole number of more than 20 digits comes as a float.

    Parameters
    ----------
    path : Path

    Raises
    ------
    InputError
        If it is missing or no JSON, names something twice, has a number that no float64 can hold,
        NaN or Infinity, or more than 100 levels of lists and objects.
    """
    text = _read_text(path)
    try:
        return parse_json(text)
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON: {error}") from None


def parse_json(text: str | bytes) -> Any:
    """Return the content of JSON, read as strictly as by `read_json`.

    Raises
    ------
    ValueError
        If it is none.
    """
    try:
        content = json.loads(
            text, parse_int=_whole_number, object_pairs_hook=_distinct, parse_constant=float
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    _check_json(content)
    return content


def _whole_number(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_INT else float(digits)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{quoted(twice)} is there twice")
    return content


def _check_json(content: Any) -> None:
    """Raise ValueError for a number that is not finite, naming it, or too many levels."""
    left = [("a number", content, 0)]
    while left:
        name, value, depth = left.pop()
        if depth > _DEEPEST_JSON:
            raise ValueError("it is nested too deeply")
        if isinstance(value, dict):
            left += [(quoted(key), below, depth + 1) for key, below in value.items()]
        elif isinstance(value, list):
            left += [(name, below, depth + 1) for below in value]
        elif isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name} is NaN, infinite, or a number too large for a float64")


def check_format(path: Path, content: dict[str, Any], newest: int) -> None:
    """Check the number of the format of a JSON file.

    Parameters
    ----------
    path : Path
        For the message.
    content : dict[str, Any]
        Of the file; without ``format`` it is of format 1.
    newest : int
        The newest format that this version of fastlin reads.

    Raises
    ------
    InputError
        If it is a newer format, or no format at all.
    """
    found = content.get("format", 1)
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise InputError(f"{path}: format is {quoted(found)}; it must be a whole number from 1")
    if found > newest:
        raise InputError(
            f"{path} was written by a newer fastlin (format {found}, this one reads up to "
            f"{newest}); install that version"
        )


def read_csv(path: Path) -> Iterator[list[str]]:
    """Give the lines of a CSV file, the names of its columns first, every line as long as that.

    Parameters
    ----------
    path : Path

    Yields
    ------
    list[str]
        The cells of a line.

    Raises
    ------
    InputError
        If it is missing, no UTF-8 text, no table, or cut short in its last line.
    """
    text = _read_text(path)
    if not text.endswith("\n"):
        raise InputError(f"{path} is damaged: it is empty or cut short")
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    columns = None
    try:
        for line in lines:
            columns = columns or line
            if len(line) != len(columns):
                raise InputError(
                    f"{path} is damaged: line {lines.line_num} has {len(line)} cells, the first "
                    f"{len(columns)}"
                )
            yield line
    except csv.Error as error:
        raise InputError(f"{path} is damaged: line {lines.line_num}: {error}") from None


def parse_number(text: str) -> float:
    """Return a finite number that is written in decimal. Raises ValueError if it is none."""
    if not _NUMBER.fullmatch(text) or not math.isfinite(value := float(text)):
        raise ValueError(f"{quoted(text)} is not a finite number")
    return value


def _reason(error: Exception) -> str:
    """Return the message of an exception in one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split())


# --- .npz ------------------------------------------------------------------------------------


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a .npz file, as `numpy.savez` and `savez_compressed` write it.

    Every member is read to its end, so that its checksum covers the header of the array too. Sizes
    are checked against that of the file before memory is taken.

    Parameters
    ----------
    path : Path

    Returns
    -------
    dict[str, NDArray]
        By name, in the order of the file.

    Raises
    ------
    OtherFormatError
        If it is a file of another kind.
    InputError
        If it is missing, damaged, or does not fit into memory, or if a member is no array, or an
        array of Python objects or of records.
    """
    with open_regular(path) as file:
        start = file.read(4096)
        if start[:4] not in {b"PK\3\4", b"PK\5\6"}:  # the second: an archive of nothing
            raise OtherFormatError(path, _kind(start))
        file.seek(0)
        try:
            with zipfile.ZipFile(file) as archive:
                members = _members(path, file, archive)
                return {
                    name: _read_array(path, archive, info, name) for name, info in members.items()
                }
        except InputError:
            raise
        except MemoryError:
            raise InputError(f"{path} does not fit into memory") from None
        except (
            zipfile.BadZipFile, zlib.error, struct.error, ValueError, OverflowError, TypeError,
            LookupError, AttributeError, EOFError, RuntimeError, OSError,
        ) as error:  # fmt: skip
            if isinstance(error, OSError) and error.errno != errno.EINVAL:  # EINVAL: a wrong offset
                raise
            raise InputError(f"{path} is damaged: {_reason(error)}") from None


def _members(path: Path, file: IO[bytes], archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
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
    path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str
) -> NDArray[Any]:
    """Read a member to its end, where zipfile compares the checksum."""
    import numpy as np  # noqa: PLC0415  (takes 0.1 s; folders and text are read without it)

    with archive.open(info) as member:
        descr, is_fortran, shape, header_size = _read_header(member, quoted(name))
        if descr.startswith("["):
            raise InputError(f"{path}: {name} holds records; save every column as an array")
        if descr.endswith("O"):
            raise InputError(
                f"{path}: {quoted(name)} holds Python objects, which are never loaded; save plain "
                f"numbers, or text: {name}.astype(str)"
            )
        dtype = _dtype(np, descr)
        count = math.prod(shape)
        size = info.file_size - header_size
        if count * dtype.itemsize != size:
            raise ValueError(
                f"{quoted(name)} has {size:,} bytes, but {count * dtype.itemsize:,} are needed for "
                f"{dtype} {quoted(shape)}"
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
    if not start.startswith(b"\x93NUMPY") or start[6:] not in {b"\1\0", b"\2\0", b"\3\0"}:
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


def _dtype(numpy: Any, descr: str) -> np.dtype[Any]:
    """Return the dtype of a header, of at least one byte."""
    if not _DTYPE.fullmatch(descr):
        raise ValueError(f"there is no dtype {quoted(descr)}")
    dtype: np.dtype[Any] = numpy.dtype(descr)
    if dtype.itemsize == 0:
        raise ValueError(f"values of dtype {quoted(descr)} have no size")
    return dtype


PYTORCH, OFFICE = "a PyTorch file", "an office document"
TABLE, TEXT, ONE_ARRAY, PARQUET, HDF5 = (
    "a text table (CSV)",
    "text",
    "one NumPy array (.npy)",
    "a Parquet file",
    "an HDF5 file",
)
_UNKNOWN, _EMPTY, _SAFETENSORS = "of an unknown kind", "empty", "a safetensors file"
_MAGIC = (
    (0, b"\x93NUMPY", ONE_ARRAY),
    (0, b"PAR1", PARQUET),
    (0, b"\x89HDF\r\n\x1a\n", HDF5),
    (0, b"\x1f\x8b", "a gzip or .tar.gz archive"),
    (0, b"BZh", "a bzip2 archive"),
    (0, b"\xfd7zXZ\x00", "an xz archive"),
    (0, b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"ARROW1", "an Arrow (Feather) file"),
    (0, b"FEA1", "a Feather file"),
    (0, b"SQLite format 3\x00", "an SQLite database"),
    (0, b"MATLAB 5.0", "a MATLAB file"),
    (0, b"\x89PNG", "an image (PNG)"),
    (0, b"\xff\xd8\xff", "an image (JPEG)"),
    (0, b"GIF8", "an image (GIF)"),
    (0, b"II*\x00", "an image (TIFF)"),
    (0, b"MM\x00*", "an image (TIFF)"),
    (8, b"WEBP", "an image (WebP)"),
    (0, b"%PDF", "a PDF document"),
    (0, b"version https://git-lfs", "a Git LFS pointer (`git lfs pull` gets the file)"),
    *((0, bytes([0x80, protocol]), "a Python pickle") for protocol in range(2, 6)),
)
_MARKUP = (
    ("<!doctype html", "a web page (HTML), perhaps saved in place of a download"),
    ("<html", "a web page (HTML), perhaps saved in place of a download"),
    ("<", "an XML file"),
    ("{", "a JSON file"),
    ("[", "a JSON file"),
)


def _kind(start: bytes) -> str:
    """Return what a file is that begins with these bytes, of which there are up to 4,096."""
    if not start:
        return _EMPTY
    for place, magic, kind in _MAGIC:
        if start[place : place + len(magic)] == magic:
            return kind
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 1 << 32:
        return _SAFETENSORS
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return TEXT
    ascii_bytes = sum(byte < 128 for byte in start)
    controls = sum(byte < 32 and byte not in b"\t\n\r\f" for byte in start)
    if controls or ascii_bytes < 0.7 * len(start):
        return _UNKNOWN
    text = start.decode("utf-8-sig", "replace").lstrip()
    for beginning, kind in _MARKUP:
        if text[: len(beginning)].lower() == beginning:
            return kind
    first = text.partition("\n")[0]
    return TABLE if any(separator in first for separator in ",;\t") else TEXT
