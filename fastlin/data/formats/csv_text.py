"""Tables as text: CSV, TSV and the like, with or without the names of columns, read by pyarrow."""

from __future__ import annotations

import codecs
import csv
import io
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastlin import files
from fastlin.data.formats.arrow import arrays_of_table, check_different
from fastlin.data.formats.names import Numbered, is_id_column, is_label_column
from fastlin.errors import InputError, PackageError, one_line, quoted

if TYPE_CHECKING:
    from fastlin.data.formats.registry import Wanted

_START = 1 << 16  # bytes in which the kind of the table is looked for
_LARGEST_BLOCK = 1 << 30  # bytes that pyarrow parses at once, to find the types of columns
_LARGEST_WITHOUT_PYARROW = 1 << 27  # bytes
_DELIMITERS = "\t,; "
_MISSING = ["", "NaN", "nan", "NA", "N/A", "null", "NULL", "None"]
_TRUTHS = frozenset({"true", "True", "TRUE", "false", "False", "FALSE"})
_WHOLE = re.compile("[+-]?[0-9]{1,40}")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def read(path: Path, wanted: Wanted) -> dict[str, NDArray[Any]]:
    """Return the wanted columns of a table as arrays, `Numbered` where they have no names.

    The first line holds names if none of its cells is a number, or one is a usual name or a text
    above numbers, or they are 0, 1, 2, ... One column without a usual name, whose first cell comes
    again below, has none. A column is of integers, floats, booleans or text;
    an empty cell, NA and the like are no value: NaN among numbers, None among others. Labels and
    ids are integers only where they are written as such: 01 is text.

    Without pyarrow small tables are read all the same, slowly.

    Raises
    ------
    InputError
        If it is no UTF-8 text or no table, or labels are the same number written in two ways; the
        message names the line or the rows.
    PackageError
        If it is large and pyarrow is not installed.
    """
    with files.open_regular(path) as file:
        start = file.read(_START)
        size = file.seek(0, 2)
    table = _layout(path, start)
    names = [name for name in check_different(path, table.names) if wanted(name)]
    if not names:
        return {}
    labels = [name for name in names if wanted.of_labels(name)]
    texts = [name for name in names if name in labels or wanted.of_ids(name)]
    found = _columns(path, table, names, texts, size)
    for name in texts:
        found[name] = _identifiers(path, name, found[name], are_labels=name in labels)
    return found if table.has_header else Numbered(found)


def _columns(
    path: Path, table: Layout, names: list[str], texts: list[str], size: int
) -> dict[str, NDArray[Any]]:
    """Return columns by name, of which `texts` are text."""
    try:
        import pyarrow as pa  # noqa: PLC0415  (an extra)
    except ImportError:
        if size > _LARGEST_WITHOUT_PYARROW:
            raise PackageError(
                f"{path} has {size:,} bytes; reading so large a table needs pyarrow: pip install "
                "'fastlin[formats]'"
            ) from None
        return plain_columns(path, table, names, texts)
    try:
        return _arrow_columns(path, table, names, texts, size)
    except MemoryError:
        raise InputError(f"{path} is damaged, or too large") from None
    except (pa.ArrowException, OSError, ValueError, TypeError, LookupError) as error:
        raise InputError(f"{path} cannot be read as a table: {one_line(str(error), 200)}") from None


def _arrow_columns(
    path: Path, table: Layout, names: list[str], texts: list[str], size: int
) -> dict[str, NDArray[Any]]:
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import csv as arrow_csv  # noqa: PLC0415

    content = arrow_csv.read_csv(
        path,
        arrow_csv.ReadOptions(
            use_threads=False,
            block_size=min(size + 1, _LARGEST_BLOCK),
            column_names=table.names,
            skip_rows=int(table.has_header),
        ),
        arrow_csv.ParseOptions(delimiter=table.delimiter, newlines_in_values=True),
        arrow_csv.ConvertOptions(
            include_columns=names,
            strings_can_be_null=True,
            null_values=_MISSING,
            column_types=dict.fromkeys(texts, pa.string()),
        ),
    )
    return arrays_of_table(path, content)


def plain_columns(
    path: Path, table: Layout, names: list[str], texts: list[str]
) -> dict[str, NDArray[Any]]:
    """Return columns as pyarrow does, read by Python's own reader; `texts` are text."""
    cells: dict[str, list[str | None]] = {name: [] for name in names}
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
    return {
        name: np.array(column, object) if name in texts else _typed(column)
        for name, column in cells.items()
    }


def _typed(column: list[str | None]) -> NDArray[Any]:
    """Return cells as the narrowest of int64, float64, booleans and text that holds them."""
    present = {cell for cell in column if cell is not None}
    if present and present <= _TRUTHS:
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


def _identifiers(path: Path, name: str, column: NDArray[Any], *, are_labels: bool) -> NDArray[Any]:
    """Return labels or ids (n,), given as text and None, as int64 if all are written as such.

    Labels are booleans where all are called so, and floats where some are numbers such as 1.0. What
    is written in another way remains text: 01, +1. White space around numbers is no part of them.
    """
    number_of: dict[str | None, int] = {}
    places = np.fromiter(
        (number_of.setdefault(text, len(number_of)) for text in column.tolist()), np.int64
    )
    texts = [text for text in number_of if text is not None]
    cells = [text.strip() for text in texts]
    if None in number_of or not texts or not all(map(_NUMBER.fullmatch, cells)):
        is_truth = are_labels and bool(texts) and _TRUTHS.issuperset(texts)
        return _typed(column.tolist()) if is_truth else column
    values = [int(cell) if _WHOLE.fullmatch(cell) else float(cell) for cell in cells]
    others = [value for cell, value in zip(cells, values, strict=True) if str(value) != cell]
    if all(isinstance(value, int) and -(2**63) <= value < 2**63 for value in values) and not others:
        return np.array(values, np.int64)[places]
    are_targets = any(value % 1 for value in values)  # which `fastlin.data.labels` refuses
    if are_labels and not are_targets:
        _check_written_once(path, name, cells, values, places)
    if are_labels and (are_targets or not any(isinstance(value, int) for value in others)):
        return np.array(values, np.float64)[places]
    return np.array(cells, object)[places]


def _check_written_once(
    path: Path, name: str, cells: list[str], values: list[int | float], places: NDArray[np.int64]
) -> None:
    """Refuse labels that are the same number written in two ways, as 1 and 1.0, or 1 and 01."""
    first: dict[float, int] = {}
    for place, value in enumerate(values):
        other = first.setdefault(value, place)
        if cells[other] != cells[place]:
            rows = [int(np.flatnonzero(places == number)[0]) for number in (other, place)]
            raise InputError(
                f"{path}: the column {quoted(name)} has the labels {quoted(cells[other])} in row "
                f"{rows[0]} and {quoted(cells[place])} in row {rows[1]}, the same number written "
                "in two ways; write every label in one way"
            )


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
    has_header = _are_names(cells, list(csv.reader(lines[1:], delimiter=delimiter)))
    names = cells if has_header else [str(place) for place in range(len(cells))]
    return Layout(delimiter, names, has_header)


def _are_names(cells: list[str], rows: list[list[str]]) -> bool:
    """Return whether the first line of a table holds names, by its cells and the rows below.

    Names may be numbers, such as years, and pandas calls columns 0, 1, 2, ...
    """
    numbers = [_is_number(cell) for cell in cells]
    columns = list(zip(*(row for row in rows if len(row) == len(cells)), strict=True))
    if not any(numbers):
        return len(cells) > 1 or is_label_column(cells[0]) or cells not in rows
    if all(numbers):
        if cells != [str(place) for place in range(len(cells))]:
            return False
        below = [cell for column in columns for cell in column]
        are_whole = any(_WHOLE.fullmatch(cell) for cell in below)
        return len(cells) > 2 or (bool(below) and not are_whole)
    texts = [place for place, is_number in enumerate(numbers) if not is_number]
    if any(is_label_column(cells[place]) or is_id_column(cells[place]) for place in texts):
        return True
    # A text above numbers is their name, unless it stands for a value that is missing.
    return any(
        cells[place] not in _MISSING
        and any(map(str.isalpha, cells[place]))
        and all(_is_number(cell) or cell in _MISSING for cell in columns[place])
        for place in texts
        if columns
    )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
