"""What a file is, by its first bytes."""

from __future__ import annotations

import codecs

PYTORCH, OFFICE = "a PyTorch file", "an office document"
TABLE, TEXT, JSON = "a text table (CSV)", "text", "a JSON file"
ONE_ARRAY, ZIP = "one NumPy array (.npy)", "a zip archive"
PARQUET, ARROW, FEATHER = "a Parquet file", "an Arrow (Feather) file", "a Feather file"
HDF5, SAFETENSORS, PICKLE = "an HDF5 file", "a safetensors file", "a Python pickle"
MATLAB, SQLITE = "a MATLAB file", "an SQLite database"
_UNKNOWN, _EMPTY = "of an unknown kind", "empty"
MAGIC = (
    (0, b"\x93NUMPY", ONE_ARRAY),
    (0, b"PK\x03\x04", ZIP),
    (0, b"PK\x05\x06", ZIP),  # of nothing
    (0, b"PAR1", PARQUET),
    (0, b"\x89HDF\r\n\x1a\n", HDF5),
    (0, b"\x1f\x8b", "a gzip or .tar.gz archive"),
    (0, b"BZh", "a bzip2 archive"),
    (0, b"\xfd7zXZ\x00", "an xz archive"),
    (0, b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"ARROW1", ARROW),
    (0, b"\xff\xff\xff\xff", ARROW),  # a stream
    (0, b"FEA1", FEATHER),
    (0, b"SQLite format 3\x00", SQLITE),
    (0, b"MATLAB 5.0", MATLAB),
    (0, b"\x89PNG", "an image (PNG)"),
    (0, b"\xff\xd8\xff", "an image (JPEG)"),
    (0, b"GIF8", "an image (GIF)"),
    (0, b"II*\x00", "an image (TIFF)"),
    (0, b"MM\x00*", "an image (TIFF)"),
    (8, b"WEBP", "an image (WebP)"),
    (0, b"%PDF", "a PDF document"),
    (0, b"version https://git-lfs", "a Git LFS pointer (`git lfs pull` gets the file)"),
    *((0, bytes([0x80, protocol]), PICKLE) for protocol in range(2, 6)),
)
_MARKUP = (
    ("<!doctype html", "a web page (HTML), perhaps saved in place of a download"),
    ("<html", "a web page (HTML), perhaps saved in place of a download"),
    ("<", "an XML file"),
    ("{", JSON),
    ("[", JSON),
)


def kind_of(start: bytes) -> str:
    """Return what a file is that begins with these bytes, of which there are up to 4,096."""
    if not start:
        return _EMPTY
    for place, magic, kind in MAGIC:
        if start[place : place + len(magic)] == magic:
            return kind
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 1 << 32:
        return SAFETENSORS
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
