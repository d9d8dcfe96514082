"""Everything that touches a disk: written whole or not at all, read without trust.

What is read may be damaged, of another kind, or made to do harm: every reader raises `InputError`
with one line that names the file, and nothing read is executed.
"""

from fastlin.files.locks import holder_of, locked, try_lock
from fastlin.files.npz import OtherFormatError, map_npy, read_npz, save_npz
from fastlin.files.opening import (
    MissingFileError,
    as_path,
    check_reachable,
    expand_home,
    is_file_or_folder,
    open_regular,
    read_bytes,
)
from fastlin.files.text import check_format, parse_json, parse_number, read_csv, read_json
from fastlin.files.writing import (
    atomic_write,
    flush_folder,
    make_directory,
    save_csv,
    save_json,
    sweep,
    to_disk,
)

__all__ = [
    "MissingFileError", "OtherFormatError", "as_path", "atomic_write", "check_format",
    "check_reachable", "expand_home", "flush_folder", "holder_of", "is_file_or_folder", "locked",
    "make_directory", "map_npy", "open_regular", "parse_json", "parse_number", "read_bytes",
    "read_csv", "read_json", "read_npz", "save_csv", "save_json", "save_npz", "sweep", "to_disk",
    "try_lock",
]  # fmt: skip
