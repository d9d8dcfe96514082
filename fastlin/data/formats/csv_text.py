"""Tables as text: CSV, TSV and the like, with or without the names of columns, read by pyarrow."""

from __future__ import annotations

import codecs
import csv
import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastlin import files
from fastlin.data.formats.arrow import arrays_of_table, check_different
from fastlin.data.formats.names import Numbered, is_label_column
from fastlin.errors import InputError, PackageError, one_line

_START = 1 << 16  # bytes in which the kind of the table is looked for
_LARGEST_BLOCK = 1 << 30  # bytes that pyarrow parses at once, to find the types of columns
_LARGEST_WITHOUT_PYARROW = 1 << 27  # bytes
_DELIMITERS = "\t,; "
_MISSING = ["", "NaN", "nan", "NA", "N/A", "null", "NULL", "None"]


def read(path: Path, is_wanted: Callable[[str], bool]) -> dict[str, NDArray[Any]]:
    """Return the wanted columns of a table as arrays, `Numbered` where they have no names.

    The first line holds names if none of its cells is a number. One column without a usual name,
    whose first cell comes again below, has none. A column is of integers, floats, booleans or text;
    an empty cell, NA and the like are no value: NaN among numbers, None among others.

    Without pyarrow small tables are read all the same, slowly.

    Raises
    ------
    InputError
        If it is no UTF-8 text or no table; the message names the line.
    PackageError
        If it is large and pyarrow is not installed.
    """
    with files.open_regular(path) as file:
        start = file.read(_START)
        size = file.seek(0, 2)
    table = _layout(path, start)
    wanted = [name for name in check_different(path, table.names) if is_wanted(name)]
    if not wanted:
        return {}
    try:
        import pyarrow as pa  # noqa: PLC0415  (an extra)
    except ImportError:
        if size > _LARGEST_WITHOUT_PYARROW:
            raise PackageError(
                f"{path} has {size:,} bytes; reading so large a table needs pyarrow: pip install "
                "'fastlin[formats]'"
            ) from None
        return table.columns(plain_columns(path, table, wanted))
    try:
        return table.columns(_arrow_columns(path, table, wanted, size))
    except MemoryError:
        raise InputError(f"{path} is damaged, or too large") from None
    except (pa.ArrowException, OSError, ValueError, TypeError, LookupError) as error:
        raise InputError(f"{path} cannot be read as a table: {one_line(str(error), 200)}") from None


def _arrow_columns(
    path: Path, table: Layout, wanted: list[str], size: int
) -> dict[str, NDArray[Any]]:
    from pyarrow import csv as arrow_csv  # noqa: PLC0415

    content = arrow_csv.read_csv(
        path,
        arrow_csv.ReadOptions(
            use_threads=False, block_size=min(size + 1, _LARGEST_BLOCK), column_names=table.names,
            skip_rows=int(table.has_header),
        ),
        arrow_csv.ParseOptions(delimiter=table.delimiter, newlines_in_values=True),
        arrow_csv.ConvertOptions(
            include_columns=wanted, strings_can_be_null=True, null_values=_MISSING
        ),
    )  # fmt: skip
    return arrays_of_table(path, content)


def plain_columns(path: Path, table: Layout, wanted: list[str]) -> dict[str, NDArray[Any]]:
    """Return columns as pyarrow does, read by Python's own reader."""
    cells: dict[str, list[str | None]] = {name: [] for name in wanted}
    with files.open_regular(path) as binary:
        text = io.TextIOWrapper(binary, encoding="utf-8-sig", newline="")
        lines = csv.reader(text, delimiter=table.delimiter, strict=True)
        try:
            for number, line in enumerate(line for line in lines if line):
                if number == 0 and table.has_header:
                    continue
                if len(line) != len(table.names):
                    raise InputError(
                        f"{path}: line {lines.line_num} has {len(line)} cells, the first has "
                        f"{len(table.names)}"
                    )
                for name, cell in zip(table.names, line, strict=True):
                    if name in cells:
                        cells[name].append(None if cell in _MISSING else cell)
        except (csv.Error, UnicodeDecodeError) as error:
            raise InputError(f"{path}: line {lines.line_num}: {one_line(str(error))}") from None
    return {name: _typed(column) for name, column in cells.items()}


def _typed(column: list[str | None]) -> NDArray[Any]:
    """Return cells as the narrowest of int64, float64, booleans and text that holds them."""
    present = {cell for cell in column if cell is not None}
    if present and present <= {"true", "True", "TRUE", "false", "False", "FALSE"}:
        truths = [None if cell is None else cell.lower() == "true" for cell in column]
        return np.array(truths, object if None in truths else bool)
    try:
        if None not in column:
            return np.array([int(cell) for cell in column if cell is not None], np.int64)
    except (ValueError, OverflowError):
        pass
    try:
        return np.array([math.nan if cell is None else float(cell) for cell in column])
    except ValueError:
        return np.array(column, object)


class Layout(NamedTuple):
    """How a table is written.

    Attributes
    ----------
    delimiter : str
        Between cells.
    names : list[str]
        Of the columns.
    has_header : bool
        Whether the first line has them.
    """

    delimiter: str
    names: list[str]
    has_header: bool

    def columns(self, found: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return columns as `read` does."""
        return found if self.has_header else Numbered(found)


def _layout(path: Path, start: bytes) -> Layout:
    """Return how a table is written that begins with these bytes."""
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
    names = cells if has_header else [str(place) for place in range(len(cells))]
    return Layout(delimiter, names, has_header)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
