"""A .tar or .tar.gz archive, read once and without unpacking it to disk."""

from __future__ import annotations

import gzip
import re
import stat
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from fastlin.errors import InputError

# The archives of CIFAR have 184 to 187 million bytes when they are unpacked.
_LARGEST_ARCHIVE = 400_000_000
_MOST_HEADERS = 10_000
_LARGEST_NAME = 65_536  # bytes of a tar header that has nothing but a long name
_TAR_BLOCK = 512
_PAX_PATH = re.compile(rb"(?:^|\n)[0-9]+ path=([^\n]*)\n")
_GZIP = b"\x1f\x8b"


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """Open an archive, compressed or not; what reading it can raise becomes one line."""
    with readable(path), open_file(path) as stored:
        is_compressed = stored.read(len(_GZIP)) == _GZIP
        stored.seek(0)
        if is_compressed:
            with gzip.GzipFile(fileobj=stored) as file:
                yield Archive(file, path)  # type: ignore[arg-type]
        else:
            yield Archive(stored, path)


class Archive:
    """The members of a tar archive that is read once, from its front to its end.

    `tarfile` itself reads headers of any size into memory, and can take for ever over some. Here it
    takes apart headers of one block only; of the others nothing but long names matters.
    """

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file = file
        self._shown = shown_path(path)
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
        return InputError(f"{self._shown} has more than {limit}; it is not an archive of CIFAR")

    def _skip(self, size: int) -> None:
        while size > 0:
            size -= len(self.read(min(size, _LARGEST_NAME)))


def _long_name(content: bytes, *, is_pax: bool) -> str | None:
    """Return the name that a header gives to the next member, None if it gives none."""
    if is_pax:
        found = _PAX_PATH.search(content)
        content = found[1] if found else b""
    return content.rstrip(b"\0").decode("utf-8", "surrogateescape") or None


def shown_path(path: Path | str) -> str:
    """Return a path for an error message: in quotes if it could not be printed on one line."""
    text = str(path)
    return text if text.isprintable() else repr(text)


def open_file(path: Path) -> IO[bytes]:
    """Open a file. Raises InputError if it is none, such as a pipe, which could be waited for."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise InputError(f"{shown_path(path)} is not a file")
    return path.open("rb")


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn what a file system, gzip or tar can raise into one line."""
    try:
        yield
    except gzip.BadGzipFile as error:
        raise InputError(f"{shown_path(path)} is damaged: {error}") from None
    except OSError as error:
        raise InputError(f"cannot read {shown_path(path)}: {error.strerror or error}") from None
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise InputError(f"{shown_path(path)} is damaged: {error}") from None
