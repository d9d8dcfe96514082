"""Tables in Parquet, Arrow and Feather files, read by pyarrow."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlin.errors import DataWarning, InputError, one_line, quoted

_PARQUET, _FEATHER = b"PAR1", (b"ARROW1", b"FEA1")


def read(path: Path, is_wanted: Callable[[str], bool]) -> dict[str, NDArray[Any]]:
    """Return the wanted columns of a table as arrays; lists of equal length are arrays (n, d).

    Columns of a Feather or Arrow file that is not compressed are memory-mapped.

    Raises
    ------
    InputError
        If the file is damaged, or a list is missing or has another length than the others.
    """
    import pyarrow as pa  # noqa: PLC0415  (an extra)

    try:
        table = _read_table(path, is_wanted)
        return arrays_of_table(path, table)
    except InputError:
        raise
    except MemoryError:
        raise InputError(f"{path} is damaged, or too large") from None
    except (pa.ArrowException, OSError, ValueError, TypeError, LookupError, RuntimeError) as error:
        raise InputError(f"{path} cannot be read as a table: {one_line(str(error), 200)}") from None


def _read_table(path: Path, is_wanted: Callable[[str], bool]) -> Any:
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import feather, parquet  # noqa: PLC0415

    with path.open("rb") as file:
        start = file.read(6)
    if start.startswith(_PARQUET):
        with parquet.ParquetFile(path, memory_map=True) as content:
            names = check_different(path, content.schema_arrow.names)
            return content.read([name for name in names if is_wanted(name)], use_threads=False)
    if start.startswith(_FEATHER):
        table = feather.read_table(path, use_threads=False, memory_map=True)
    else:  # the stream that `datasets` keeps
        table = pa.ipc.open_stream(pa.memory_map(str(path))).read_all()
    table = table.select(
        [name for name in check_different(path, table.column_names) if is_wanted(name)]
    )
    table.validate(full=True)  # offsets beyond the end are believed otherwise
    return table


def check_different(path: Path, names: list[str]) -> list[str]:
    """Return the names of columns. Raises InputError if one is there twice."""
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(
            f"{path} has the column {quoted(twice)} twice; every column needs a name of its own"
        )
    return names


def arrays_of_table(path: Path, table: Any) -> dict[str, NDArray[Any]]:
    """Return the columns of a pyarrow table as arrays, without those of types that have none."""
    found, left_out = {}, []
    for name in table.column_names:
        array = _array(path, name, table.column(name))
        if array is None:
            left_out.append(name)
        else:
            found[name] = array
    if left_out:
        shown = ", ".join(f"{quoted(name)} ({table.schema.field(name).type})" for name in left_out)
        warnings.warn(f"{path}: left out {one_line(shown, 300)}", DataWarning, stacklevel=2)
    return found


def _array(path: Path, name: str, column: Any) -> NDArray[Any] | None:
    """Return the values of a column; None if they are neither numbers, text nor lists of numbers.

    A missing value is NaN among numbers, None among others.
    """
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import types  # noqa: PLC0415

    if isinstance(column.type, pa.BaseExtensionType):
        storage = column.type.storage_type
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], storage)
    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if types.is_fixed_size_list(kind) or types.is_list(kind) or types.is_large_list(kind):
        return _lists(path, name, column) if _is_number(kind.value_type) else None
    if types.is_decimal(kind):
        column = column.cast(pa.float64())
    elif not (
        _is_number(kind)
        or types.is_null(kind)
        or types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_binary(kind)
        or types.is_large_binary(kind)
    ):
        return None
    values: NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return values


def _is_number(kind: Any) -> bool:
    from pyarrow import types  # noqa: PLC0415

    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))


def _lists(path: Path, name: str, column: Any) -> NDArray[Any]:
    """Return lists of equal length as an array (n, d), without a copy if they are in one piece."""
    import pyarrow.compute as pc  # noqa: PLC0415

    shown = f"{path}: the column {quoted(name)}"
    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy())[0])
        raise InputError(f"{shown} has no list in row {row}; every row needs all features")
    column = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
    length = int(lengths[0]) if len(lengths) else 0
    if (lengths != length).any():
        row = int(np.flatnonzero(lengths != length)[0])
        raise InputError(
            f"{shown} has a list of {lengths[row]} values in row {row}, and one of {length} in "
            "row 0; all rows need as many"
        )
    values = column.flatten()
    if values.null_count:
        place = int(np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))[0])
        raise InputError(
            f"{shown} has no number in row {place // length}, place {place % length} of the list"
        )
    return np.asarray(values.to_numpy(zero_copy_only=False)).reshape(len(column), length)
