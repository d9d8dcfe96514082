"""JSON and CSV, read strictly: what is damaged or ambiguous is refused."""

from __future__ import annotations

import codecs
import csv
import io
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastlin.errors import InputError, quoted
from fastlin.files.opening import read_bytes

_LARGEST_TEXT = 1 << 28  # bytes of a JSON or CSV file
_DEEPEST_JSON = 100  # lists and objects within one another
_LONGEST_INT = 20  # digits; a JSON number with more is read as a float
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")


def _read_text(path: str | Path) -> str:
    content = read_bytes(path, _LARGEST_TEXT)
    if content.startswith(codecs.BOM_UTF8):
        raise InputError(f"{path} begins with a byte order mark; save it as UTF-8 without one")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8 text: byte {error.start} is 0x{content[error.start]:02x}"
        ) from None


def read_json(path: str | Path) -> Any:
    """Return the content of a JSON file.

    Numbers are finite; a whole number of more than 20 digits comes as a float.

    Parameters
    ----------
    path : str or Path

    Raises
    ------
    InputError
        If it is missing or no JSON, names something twice, has a number that no float64 can hold,
        NaN or Infinity, or more than 100 levels of lists and objects.
    """
    text = _read_text(path)
    try:
        return parse_json(text)
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON: {error}") from None


def parse_json(text: str | bytes) -> Any:
    """Return the content of JSON, read as strictly as by `read_json`.

    Raises
    ------
    ValueError
        If it is none.
    """
    try:
        content = json.loads(
            text, parse_int=_whole_number, object_pairs_hook=_distinct, parse_constant=float
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    _check_json(content)
    return content


def _whole_number(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_INT else float(digits)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{quoted(twice)} is there twice")
    return content


def _check_json(content: Any) -> None:
    """Raise ValueError for a number that is not finite, naming it, or too many levels."""
    left = [("a number", content, 0)]
    while left:
        name, value, depth = left.pop()
        if depth > _DEEPEST_JSON:
            raise ValueError("it is nested too deeply")
        if isinstance(value, dict):
            left += [(quoted(key), below, depth + 1) for key, below in value.items()]
        elif isinstance(value, list):
            left += [(name, below, depth + 1) for below in value]
        elif isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name} is NaN, infinite, or a number too large for a float64")


def check_format(path: str | Path, content: dict[str, Any], newest: int) -> None:
    """Check the number of the format of a JSON file.

    Parameters
    ----------
    path : str or Path
        For the message.
    content : dict[str, Any]
        Of the file; without ``format`` it is of format 1.
    newest : int
        The newest format that this version of fastlin reads.

    Raises
    ------
    InputError
        If it is a newer format, or no format at all.
    """
    found = content.get("format", 1)
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise InputError(f"{path}: format is {quoted(found)}; it must be a whole number from 1")
    if found > newest:
        raise InputError(
            f"{path} was written by a newer fastlin (format {found}, this one reads up to "
            f"{newest}); install that version"
        )


def read_csv(path: str | Path) -> Iterator[list[str]]:
    """Give the lines of a CSV file, the names of its columns first, every line as long as that.

    Parameters
    ----------
    path : str or Path

    Yields
    ------
    list[str]
        The cells of a line.

    Raises
    ------
    InputError
        If it is missing, no UTF-8 text, no table, or cut short in its last line.
    """
    text = _read_text(path)
    if not text.endswith("\n"):
        raise InputError(f"{path} is damaged: it is empty or cut short")
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    columns = None
    try:
        for line in lines:
            columns = columns or line
            if len(line) != len(columns):
                raise InputError(
                    f"{path} is damaged: line {lines.line_num} has {len(line)} cells, the first "
                    f"{len(columns)}"
                )
            yield line
    except csv.Error as error:
        raise InputError(f"{path} is damaged: line {lines.line_num}: {error}") from None


def parse_number(text: str) -> float:
    """Return a finite number that is written in decimal. Raises ValueError if it is none."""
    if not _NUMBER.fullmatch(text) or not math.isfinite(value := float(text)):
        raise ValueError(f"{quoted(text)} is not a finite number")
    return value
