"""How much memory rows may take, and which of them stay in files for that reason."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from fastlin.data.stored import StoredRows, in_memory
from fastlin.errors import InputError, quoted

LEAST = 16_000_000  # bytes: two windows of some blocks

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_TEXT = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([KMGT]?)(i?)B?", re.IGNORECASE)

# Rows in memory take this part of it at most; two windows, or blocks, of those in files do, too.
_SHARE = 0.5


def check_memory(memory: object) -> str:
    """Return an amount of memory, such as ``500MB`` or ``2GiB``, as text.

    Raises
    ------
    InputError
        If it is none, or less than `LEAST`.
    """
    if isinstance(memory, int | np.integer) and not isinstance(memory, bool):
        memory = str(memory)
    if not isinstance(memory, str) or not _TEXT.fullmatch(memory.strip()):
        raise InputError(
            f"memory is {quoted(memory)}; it must be an amount such as 500MB, 2GB or 1.5GiB"
        )
    if bytes_of(memory) < LEAST:
        raise InputError(f"memory is {memory}; it must be {LEAST // 10**6}MB at least")
    return memory.strip()


def bytes_of(memory: str) -> int:
    """Return how many bytes a checked amount of memory is."""
    [(number, unit, is_binary)] = _TEXT.findall(memory.strip())
    factor = _UNITS[unit.upper()]
    if is_binary:
        factor = 1024 ** list(_UNITS).index(unit.upper())
    return int(float(number) * factor)


def available() -> int:
    """Return the bytes of memory of the machine, or of the container that this process is in."""
    amounts = []
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        amounts.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            amounts.append(int((Path("/sys/fs/cgroup") / name).read_text("utf-8")))
        except (OSError, ValueError):  # "max", or no such file
            continue
    return min(amounts, default=2**33)


def most_of_rows(memory: str | None) -> int:
    """Return how many bytes rows in memory may take, of an amount that was given or none."""
    return int(_SHARE * _limit(memory))


def _limit(memory: str | None) -> int:
    return available() // 2 if memory is None else bytes_of(memory)


def leave_in_files(arrays: dict[str, Any], memory: str | None) -> None:
    """Replace, in place of the dictionary, rows that are too large for memory.

    Parameters
    ----------
    arrays : dict[str, Any]
        Of which those called ``X_...`` (n, d) are rows: in memory, mapped from files, or of shards
        in files, which are read if memory holds them.
    memory : str or None
        How much there is for rows; None for half of what there is.

    Raises
    ------
    InputError
        If rows are in memory already, and too large.
    """
    limit = _limit(memory)
    rows = {name: array for name, array in arrays.items() if name.startswith("X_")}
    if sum(array.nbytes for array in rows.values()) <= most_of_rows(memory):
        arrays |= {name: in_memory(X) for name, X in rows.items()}
        return
    for name, array in rows.items():
        in_files = array if isinstance(array, StoredRows) else StoredRows.of_mapped(array)
        if in_files is not None:
            arrays[name] = in_files.within(limit)
        elif memory is not None and array.nbytes > most_of_rows(memory):
            raise InputError(
                f"{name} takes {array.nbytes / 1e6:,.0f} MB, and memory is {memory}; rows that are "
                "stored as they are, (n, features) in the order of this machine (.npy, "
                ".safetensors), or in Parquet or .h5, can be read in blocks"
            )
