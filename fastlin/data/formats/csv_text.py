"""Tables as text: CSV, TSV and the like, with or without the names of columns, read by pyarrow."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fastlin import files
from fastlin.data.formats.arrow import arrays_of_table
from fastlin.data.formats.names import is_label_column
from fastlin.errors import InputError, one_line, quoted

_START = 1 << 16  # bytes in which the kind of the table is looked for
_LARGEST_BLOCK = 1 << 30  # bytes that pyarrow parses at once, to find the types of columns
_DELIMITERS = "\t,; "
_MISSING = ["", "NaN", "nan", "NA", "N/A", "null", "NULL", "None"]


def read(path: Path, is_wanted: Callable[[str], bool]) -> dict[str, NDArray[Any]]:
    """Return the wanted columns of a table as arrays; without names they are called 0, 1, 2, ...

    The first line holds names if none of its cells is a number. One column without a usual name,
    whose first cell comes again below, has none.

    Raises
    ------
    InputError
        If it is no UTF-8 text or no table; the message names the line.
    """
    import pyarrow as pa  # noqa: PLC0415  (an extra)
    from pyarrow import csv as arrow_csv  # noqa: PLC0415

    with files.open_regular(path) as file:
        start = file.read(_START)
        size = file.seek(0, 2)
    delimiter, names, has_header = _layout(path, start)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{path} has the column {quoted(twice)} twice; every column needs a name")
    wanted = [name for name in names if is_wanted(name)]
    if not wanted:
        return {}
    try:
        table = arrow_csv.read_csv(
            path,
            arrow_csv.ReadOptions(
                use_threads=False, block_size=min(size + 1, _LARGEST_BLOCK), column_names=names,
                skip_rows=int(has_header),
            ),
            arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            arrow_csv.ConvertOptions(
                include_columns=wanted, strings_can_be_null=True, null_values=_MISSING
            ),
        )  # fmt: skip
        return arrays_of_table(path, table)
    except MemoryError:
        raise InputError(f"{path} does not fit into memory") from None
    except (pa.ArrowException, OSError, ValueError, TypeError, LookupError) as error:
        raise InputError(f"{path} cannot be read as a table: {one_line(str(error), 200)}") from None


def _layout(path: Path, start: bytes) -> tuple[str, list[str], bool]:
    """Return delimiter, names of columns, and whether the first line has them."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(f"{path} is text in UTF-16; save it as UTF-8")
    lines = start.decode("utf-8-sig", "replace").splitlines()
    if len(start) == _START:
        lines = lines[:-1] or lines
    lines = [line for line in lines if line.strip()]
    if not lines:
        raise InputError(f"{path} is empty; it must be a table")
    if "\ufffd" in lines[0]:
        raise InputError(f"{path} is not UTF-8 text; save it as UTF-8")
    delimiter = max(_DELIMITERS, key=lines[0].count)
    if delimiter == " " and not all(_is_number(cell) for cell in lines[0].split(" ")):
        delimiter = ","  # a name or a label of several words
    try:
        cells = next(csv.reader([lines[0]], delimiter=delimiter))
    except (csv.Error, StopIteration) as error:
        raise InputError(f"{path}: the first line is no line of a table: {error}") from None
    if any(_is_number(cell) for cell in cells):
        has_header = False
    elif len(cells) == 1:
        rest = {line.strip() for line in lines[1:]}
        has_header = is_label_column(cells[0]) or lines[0].strip() not in rest
    else:
        has_header = True
    return delimiter, cells if has_header else [*map(str, range(len(cells)))], has_header


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
