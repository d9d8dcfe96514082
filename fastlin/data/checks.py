"""What rows, labels, class names and image shapes must be."""

from __future__ import annotations

import math
import operator
import sys
import unicodedata
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastlin.data.stored import AnyRows, StoredRows
from fastlin.errors import InputError, counted, one_line, quoted
from fastlin.settings import as_float


class _RowDtypes(tuple[np.dtype[Any], ...]):
    """The dtypes of rows; bfloat16 of the package ml_dtypes, not loaded here, is one of them."""

    __slots__ = ()

    def __contains__(self, dtype: object) -> bool:
        return super().__contains__(dtype) or getattr(dtype, "name", None) == "bfloat16"


ROW_DTYPES = _RowDtypes(map(np.dtype, (np.uint8, np.float16, np.float32, np.float64)))
ROW_DTYPE_NAMES = "uint8, float16, bfloat16, float32 or float64"

SCALES = 1e-15, 1e15  # what is smaller or larger has no square in float32

_BLOCK_VALUES = 2**16  # checked at a time: 512 KB of float64 stay in the cache for both extremes

# Categories of characters that break or garble a line: control characters, line and paragraph
# separators, halves of surrogate pairs.
_LINE_BREAKING = frozenset({"Cc", "Zl", "Zp", "Cs"})


def default_scale(row_dtype: np.dtype[Any]) -> float:
    """Return what a stored value is multiplied by where nobody says: 1/255 for uint8, else 1."""
    return 1 / 255 if row_dtype == np.uint8 else 1.0


def scale_of(scale: Any, row_dtype: np.dtype[Any]) -> float:
    """Return what stored values are multiplied by, for None the default; see `check_scale`."""
    return default_scale(row_dtype) if scale is None else check_scale(scale)


def check_scale(scale: Any) -> float:
    """Return what stored values are to be multiplied by.

    Raises
    ------
    InputError
        If it is no finite number above 0, or so far from 1 that its square is none.
    """
    number = as_float(scale)
    if not SCALES[0] <= number <= SCALES[1]:
        raise InputError(
            f"scale is {quoted(scale)}; it must be a number from {SCALES[0]:g} to {SCALES[1]:g}, "
            "by which stored values are multiplied"
        )
    return number


def number_dtype(row_dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype that stored values are computed with: float32 for float16 and bfloat16."""
    return np.dtype(np.float32) if is_half(row_dtype) else row_dtype


def is_half(row_dtype: np.dtype[Any]) -> bool:
    """Return whether rows are float16 or bfloat16."""
    return row_dtype.name in {"float16", "bfloat16"}


def check_values(
    name: str, array: AnyRows, dtype: DTypeLike | None = None, first_row: int = 0
) -> float:
    """Check that every value is finite and no larger than a dtype holds.

    Parameters
    ----------
    name : str
        Of the array, for the message.
    array : NDArray or StoredRows
        One or two dimensions of numbers, not empty. No copy of it is made.
    dtype : DTypeLike, optional
        Of the arithmetic that is to use the values; by default the array's own.
    first_row : int, optional
        The number of the first row, for the message: not 0 in a block of a larger array.

    Returns
    -------
    float
        The largest absolute value.

    Raises
    ------
    InputError
        If a value is NaN, infinite or beyond `dtype`; it names the first one and its place.
    """
    if isinstance(array, StoredRows):
        return max(check_values(name, block, dtype, first) for first, block in array.blocks())
    if array.dtype == np.uint8:
        return float(array.max())
    if is_half(array.dtype):
        return _check_halves(name, array, first_row)
    limit = float(np.finfo(array.dtype if dtype is None else dtype).max)
    largest = 0.0
    length = max(1, _BLOCK_VALUES // (array.size // len(array)))
    for first in range(0, len(array), length):
        block = array[first : first + length]
        low, high = float(block.min()), float(block.max())
        if not (-limit <= low and high <= limit):  # so written, NaN is found, too
            place = tuple(np.argwhere(~(np.abs(block) <= limit))[0].tolist())
            _refuse_value(
                name, float(block[place]), (first_row + first + place[0], *place[1:]), dtype
            )
        largest = max(largest, -low, high)
    return largest


def _check_halves(name: str, array: NDArray[Any], first_row: int) -> float:
    """Do `check_values` for float16 or bfloat16, whose bits are in the order of their size."""
    infinite = int(np.array(np.inf, array.dtype).view(np.uint16))
    largest = 0
    length = max(1, _BLOCK_VALUES // (array.size // len(array)))
    for first in range(0, len(array), length):
        magnitudes = np.ascontiguousarray(array[first : first + length]).view(np.uint16) & 0x7FFF
        largest = max(largest, int(magnitudes.max()))
        if largest >= infinite:
            place = tuple(np.argwhere(magnitudes >= infinite)[0].tolist())
            place = (first + place[0], *place[1:])
            _refuse_value(name, float(array[place]), (first_row + place[0], *place[1:]), None)
    return float(np.array(largest, np.uint16).view(array.dtype))


def check_weights(weights: ArrayLike, row_count: int) -> NDArray[np.float64]:
    """Return the weights of rows as a C-contiguous (row_count,) float64 array.

    Raises
    ------
    InputError
        If their number is wrong, one is no finite number, 0 or above, or all are 0.
    """
    array = as_array("weights", weights)
    if array.shape != (row_count,):
        raise InputError(
            f"weights has shape {array.shape}; with {row_count} rows it must be ({row_count},)"
        )
    if array.dtype.kind not in "biuf" and not is_half(array.dtype):
        raise InputError(f"weights has dtype {array.dtype!s:.60}; weights must be real numbers")
    found = np.ascontiguousarray(array, np.float64)
    wrong = ~((found >= 0) & (found <= np.finfo(np.float64).max))  # so written, NaN is wrong
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise InputError(
            f"the weight of row {row} is {float(found[row])!r}; weights must be finite, 0 or above"
        )
    if not found.any():
        raise InputError("all weights are 0; at least one row must count")
    return found


def relative_weights(what: str, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return checked weights over the largest of them.

    Raises
    ------
    InputError
        If one above 0 becomes so small that float32 has no such number, and would be 0.
    """
    relative: NDArray[np.float64] = weights / weights.max()
    lost = (weights > 0) & (relative < np.finfo(np.float32).tiny)
    if lost.any():
        place = int(np.flatnonzero(lost)[0])
        raise InputError(
            f"the weight of {what} {place} is {float(weights[place])!r}, so small beside the "
            f"largest, {float(weights.max())!r}, that it would be 0; give 0, or another one"
        )
    return relative


def of_mean_one(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return checked weights over their mean. Raises InputError as `relative_weights` does."""
    relative = relative_weights("row", weights)  # their sum is finite
    result: NDArray[np.float64] = relative / relative.mean()
    return result


def _refuse_value(name: str, value: float, place: tuple[int, ...], dtype: DTypeLike | None) -> None:
    where = _where(place)
    if math.isfinite(value):
        kind = np.dtype(dtype)
        raise InputError(
            f"{name} has the value {value!r} in {where}; {kind} holds numbers up to "
            f"{np.finfo(kind).max:.2g}: compute with dtype float64"
        )
    raise InputError(f"{name} has the value {value!r} in {where}; every value must be finite")


def _where(place: tuple[int, ...]) -> str:
    return f"row {place[0]}, column {place[1]}" if len(place) == 2 else f"place {place[0]}"


def check_labels(y: ArrayLike, row_count: int, class_count: int) -> NDArray[np.int64]:
    """Return labels as a C-contiguous (row_count,) int64 array.

    Parameters
    ----------
    y : ArrayLike
        One integer a row, of any integer dtype.
    row_count, class_count : int
        How many labels there must be, and of how many classes.

    Raises
    ------
    InputError
        If their number, dtype or range is wrong: each must be in [0, class_count).
    """
    y = integer_labels("y", y)
    if y.shape != (row_count,):
        raise InputError(f"y has shape {y.shape}; with {row_count} rows it must be ({row_count},)")
    if int(y.min()) < 0 or int(y.max()) >= class_count:
        row = int(np.flatnonzero((y < 0) | (y >= class_count))[0])
        raise InputError(
            f"label {y[row]} in row {row} is outside 0 to {class_count - 1} "
            f"(there are {class_count} classes)"
        )
    return np.ascontiguousarray(y, dtype=np.int64)


def integer_labels(name: str, labels: ArrayLike) -> NDArray[Any]:
    """Return labels as an array (n,) of an integer dtype, n at least 1.

    Raises
    ------
    InputError
        If they are anything else; it says what labels must be.
    """
    y = as_array(name, labels)
    if y.ndim != 1 or y.size == 0:
        raise InputError(
            f"{name} has shape {y.shape}; labels must be one integer a row, of shape (rows,)"
        )
    if y.dtype.kind not in "iu":  # np.integer would let timedelta64 pass
        raise InputError(f"{name} has dtype {y.dtype!s:.60}; labels must be integers")
    return y


def check_class_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return class names as a tuple of plain text.

    Raises
    ------
    InputError
        If there are fewer than two, or one is no text, blank, there twice, or not one line of
        characters that can be printed.
    """
    try:
        listed = [] if isinstance(names, str) else list(names)
    except TypeError:
        listed = []
    if not listed:
        raise InputError(f"class_names is {quoted(names)}; it must be a list of text")
    checked: dict[str, int] = {}
    for number, name in enumerate(listed):
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"class {number} is called {quoted(name)}; a name must be text")
        if any(unicodedata.category(character) in _LINE_BREAKING for character in name):
            raise InputError(
                f"class {number} is called {quoted(name)}; a name must be one line of text, "
                "without control characters"
            )
        if name in checked:
            raise InputError(
                f"classes {checked[name]} and {number} are both called {quoted(name)}; every "
                "class needs a name of its own"
            )
        checked[str(name)] = number
    if len(checked) < 2:
        raise InputError(f"the number of classes is {len(checked)}; at least 2 are needed")
    return tuple(checked)


def check_image_shape(shape: Iterable[int], feature_count: int) -> tuple[int, int, int]:
    """Return an image shape (channels, height, width) as plain integers.

    Raises
    ------
    InputError
        If it is not three whole numbers of at least 1, the first of them 1 or 3, whose product is
        `feature_count`.
    """
    try:
        sizes = tuple(operator.index(size) for size in shape)
    except TypeError:  # no list, or not of whole numbers
        sizes = ()
    if (
        len(sizes) != 3
        or sizes[0] not in (1, 3)
        or min(sizes) < 1
        or math.prod(sizes) != feature_count
    ):
        raise InputError(
            f"image shape {quoted(sizes or shape)} does not fit rows of {feature_count} "
            "features; it must be (channels, height, width), with 1 or 3 channels"
        )
    return sizes[0], sizes[1], sizes[2]


def is_unicode(texts: NDArray[Any]) -> bool:
    """Return whether text (n,) of dtype U has characters of Unicode alone; others always do.

    NumPy makes Python text of larger numbers, too, at which Python fails later.
    """
    if texts.dtype.kind != "U" or texts.dtype.itemsize == 0:
        return True
    numbers = np.ascontiguousarray(texts).view(f"{texts.dtype.byteorder.replace('|', '=')}u4")
    return not bool((numbers > sys.maxunicode).any())


def check_unmasked(name: str, values: Any) -> None:
    """Raise InputError if an array has masked values, which NumPy would take for what is there."""
    if not isinstance(values, np.ma.MaskedArray) or values.dtype.names is not None:
        return
    mask = np.ma.getmaskarray(values)
    count = int(np.count_nonzero(mask))
    if count:
        first = tuple(int(place) for place in np.unravel_index(mask.argmax(), mask.shape))
        where = f", the first in {_where(first)}" if first else ""
        raise InputError(
            f"{name} has {counted(count, 'masked value')}{where}; leave such rows out, or fill "
            "them in with .filled()"
        )


def as_array(name: str, values: ArrayLike) -> NDArray[Any]:
    """Return values as an array. Raises InputError if they are none; the message calls it name."""
    check_unmasked(name, values)
    try:
        if hasattr(values, "__dlpack__") and not hasattr(values, "__array__"):
            values = np.from_dlpack(values)  # type: ignore[arg-type]
        elif str(getattr(values, "dtype", "")) == "torch.bfloat16":  # which NumPy lacks
            values = values.float()  # type: ignore[union-attr]
        array = np.asarray(_of_one_type(values))
    except (ValueError, TypeError, BufferError):  # lists of different lengths, huge integers
        raise InputError(f"{name} is no array of numbers: {quoted(values)}") from None
    except RuntimeError as error:  # a tensor that cannot be read as it is
        raise InputError(
            f"{name} cannot be read as an array: {one_line(str(error), 200)}"
        ) from None
    if array.ndim == 0 and hasattr(values, "toarray"):
        raise InputError(f"{name} is sparse; give an array of all values, such as .toarray() makes")
    return array


def _of_one_type(values: Any) -> Any:
    """Return a DataFrame of numbers and booleans as float64; of pandas it would be objects."""
    if not (hasattr(values, "columns") and hasattr(values, "dtypes")):
        return values
    kinds = {getattr(dtype, "kind", "") for dtype in values.dtypes}
    if "b" in kinds and kinds <= set("biuf"):
        return values.to_numpy(dtype=np.float64)
    return values


def as_rows(X: ArrayLike | StoredRows) -> AnyRows:
    """Return rows as an array (n, d) of one of `ROW_DTYPES`, its values not checked.

    Rows in files stay there.

    Raises
    ------
    InputError
        If shape or dtype are others.
    """
    X = X if isinstance(X, StoredRows) else as_array("X", X)
    if X.ndim != 2 or 0 in X.shape:
        raise InputError(f"X has shape {X.shape}; it must be (rows, features), both at least 1")
    if X.dtype not in ROW_DTYPES:
        raise InputError(f"X has dtype {X.dtype!s:.60}; it must be {ROW_DTYPE_NAMES}")
    return X
