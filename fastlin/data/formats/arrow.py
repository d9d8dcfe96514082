"""Tables in Parquet, Arrow and Feather files, read by pyarrow."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlin.data.formats.registry import Wanted
from fastlin.errors import DataWarning, InputError, one_line, quoted
from fastlin.files.spool import spooled

_BYTES_OF_BLOCK = 2**24  # of a large column that is read in blocks
_PARQUET, _FEATHER = b"PAR1", (b"ARROW1", b"FEA1")


def read(path: Path, wanted: Wanted) -> dict[str, NDArray[Any]]:
    """Return the wanted columns of a table as arrays; lists of equal length are arrays (n, d).

    Columns of a Feather or Arrow file that is not compressed are memory-mapped. Large columns of
    lists of a Parquet file, and many columns of numbers, are written to a temporary file, which is
    mapped.

    Raises
    ------
    InputError
        If the file is damaged, or a list is missing or has another length than the others.
    """
    import pyarrow as pa  # noqa: PLC0415  (an extra)

    kind = "a table"
    try:
        with path.open("rb") as file:
            start = file.read(6)
        if start.startswith(_PARQUET):
            kind = "Parquet"
            return _of_parquet(path, wanted)
        table = _read_table(path, wanted, is_feather=start.startswith(_FEATHER))
        return arrays_of_table(path, table)
    except InputError:
        raise
    except MemoryError:
        raise InputError(f"{path} is damaged, or too large") from None
    except (pa.ArrowException, OSError, ValueError, TypeError, LookupError, RuntimeError) as error:
        raise InputError(f"{path} cannot be read as {kind}: {one_line(str(error), 200)}") from None


def _of_parquet(path: Path, wanted: Wanted) -> dict[str, NDArray[Any]]:
    from pyarrow import parquet  # noqa: PLC0415

    with parquet.ParquetFile(path, memory_map=True) as content:
        every = check_different(path, content.schema_arrow.names)
        names = [name for name in every if wanted(name)]
        shapes = {name: _large_shape(content, name, wanted) for name in names}
        large = {name: shape for name, shape in shapes.items() if shape is not None}
        found = {name: _spooled_lists(path, content, name, of) for name, of in large.items()}
        for dtype, of_dtype in _large_columns(content, names, wanted).items():
            found |= _spooled_columns(path, content, of_dtype, dtype)
        table = content.read([name for name in names if name not in found], use_threads=False)
        found |= arrays_of_table(path, table)
    return {name: found[name] for name in names if name in found}


def _large_shape(content: Any, name: str, wanted: Wanted) -> tuple[int, int] | None:
    """Return the shape (n, d) of a column of lists of numbers that is to stay in a file."""
    kind = _stored(content.schema_arrow.field(name).type)
    if not _is_list(kind) or not _is_number(kind.value_type) or content.metadata.num_rows == 0:
        return None
    column = next(content.iter_batches(1, columns=[name])).column(0)
    first = getattr(column, "storage", column)[0]
    if not first.is_valid:
        return None  # which is said when all rows are read
    rows, length = content.metadata.num_rows, len(first)  # as all others should have
    return (rows, length) if wanted.is_large(rows * length * _dtype(kind).itemsize) else None


def _spooled_lists(path: Path, content: Any, name: str, shape: tuple[int, int]) -> NDArray[Any]:
    """Return a column of lists, mapped from a temporary file to which it is written."""
    import pyarrow as pa  # noqa: PLC0415

    dtype = _dtype(_stored(content.schema_arrow.field(name).type))

    def blocks() -> Iterator[NDArray[Any]]:
        first = 0
        rows = max(1, _BYTES_OF_BLOCK // (shape[1] * dtype.itemsize))
        for batch in content.iter_batches(rows, columns=[name], use_threads=False):
            column = pa.chunked_array([batch.column(0)])
            block = _array(path, name, column, first, shape[1])
            if block is not None:  # as of any list of numbers
                first += len(block)
                yield block

    return spooled(f"{path}: the column {quoted(name)}", shape, dtype, blocks())


def _large_columns(
    content: Any, names: list[str], wanted: Wanted
) -> dict[np.dtype[Any], list[str]]:
    """Return which columns of floating-point numbers are to stay in a file, by their dtype.

    Where a value of whole numbers is missing, they become floating-point numbers: what they will be
    is known when they have been read.
    """
    from pyarrow import types  # noqa: PLC0415

    found: dict[np.dtype[Any], list[str]] = {}
    for name in names:
        kind = content.schema_arrow.field(name).type
        if types.is_floating(kind):
            found.setdefault(np.dtype(kind.to_pandas_dtype()), []).append(name)
    size = content.metadata.num_rows * sum(len(of) * dtype.itemsize for dtype, of in found.items())
    return found if wanted.is_large(size) else {}


def _spooled_columns(
    path: Path, content: Any, names: list[str], dtype: np.dtype[Any]
) -> dict[str, NDArray[Any]]:
    """Return columns of a dtype, written one after the other to a temporary file, and mapped."""
    blocks = (
        arrays_of_table(path, content.read([name], use_threads=False))[name][None] for name in names
    )
    shape = len(names), content.metadata.num_rows
    columns = spooled(f"{path}: the group of {len(names)} {dtype} columns", shape, dtype, blocks)
    return dict(zip(names, columns, strict=True))


def _read_table(path: Path, is_wanted: Callable[[str], bool], *, is_feather: bool) -> Any:
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import feather  # noqa: PLC0415

    if is_feather:
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


def _array(
    path: Path, name: str, column: Any, first: int = 0, length: int | None = None
) -> NDArray[Any] | None:
    """Return the values of a column; None if they are neither numbers, text nor lists of numbers.

    A missing value is NaN among numbers, None among others. It may be a part of a column, from a
    row `first` on, of whose lists the length is known.
    """
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import types  # noqa: PLC0415

    if isinstance(column.type, pa.BaseExtensionType):
        storage = column.type.storage_type
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], storage)
    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if _is_list(kind):
        return _lists(path, name, column, first, length) if _is_number(kind.value_type) else None
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


def _stored(kind: Any) -> Any:
    """Return the type in which values of a type are stored."""
    import pyarrow as pa  # noqa: PLC0415

    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _dtype(kind: Any) -> np.dtype[Any]:
    """Return the dtype of the values of a type of lists."""
    found: np.dtype[Any] = np.dtype(kind.value_type.to_pandas_dtype())
    return found


def _is_list(kind: Any) -> bool:
    from pyarrow import types  # noqa: PLC0415

    return bool(types.is_fixed_size_list(kind) or types.is_list(kind) or types.is_large_list(kind))


def _is_number(kind: Any) -> bool:
    from pyarrow import types  # noqa: PLC0415

    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))


def _lists(
    path: Path, name: str, column: Any, first: int = 0, length: int | None = None
) -> NDArray[Any]:
    """Return lists of equal length as an array (n, d), without a copy if they are in one piece.

    They may be from a row `first` on, and of a length that those before have.
    """
    import pyarrow.compute as pc  # noqa: PLC0415

    shown = f"{path}: the column {quoted(name)}"
    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy())[0])
        raise InputError(f"{shown} has no list in row {first + row}; every row needs all features")
    column = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
    if length is None:
        length = int(lengths[0]) if len(lengths) else 0
    if (lengths != length).any():
        row = int(np.flatnonzero(lengths != length)[0])
        raise InputError(
            f"{shown} has a list of {lengths[row]} values in row {first + row}, and one of "
            f"{length} in row 0; all rows need as many"
        )
    values = column.flatten()
    if values.null_count:
        place = int(np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))[0])
        raise InputError(
            f"{shown} has no number in row {first + place // length}, place {place % length} of "
            "the list"
        )
    return np.asarray(values.to_numpy(zero_copy_only=False)).reshape(len(column), length)
