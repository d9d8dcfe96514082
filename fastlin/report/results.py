"""The results of a report on disk: JSON for a page and for machines, CSV for a spreadsheet.

results.json holds the page: its texts, and its tables with every number as it was computed.
"""

from __future__ import annotations

import json
import math
import types
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from fastlin.errors import InputError, quoted
from fastlin.files import atomic_write, check_format, read_json, save_csv
from fastlin.report.page import Page

Json = dict[str, Any]
FORMAT = 2
KINDS = ("study", "runs")
RESULTS, TABLE = "results.json", "results.csv"


def to_json(value: Any) -> Any:
    """Return a page, or a part of one, as JSON values; a number that is not finite is None."""
    if is_dataclass(value):
        names = [field.name for field in fields(value) if field.name != "draw"]
        return {name: to_json(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def from_json(kind: Any, value: Any) -> Any:
    """Return JSON values as what an annotation says.

    Raises
    ------
    InputError
        If they are something else.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin is types.UnionType:  # X | None
        return None if value is None else from_json(arguments[0], value)
    if type(value) is not (dict if is_dataclass(kind) else origin or kind):
        raise InputError(f"{quoted(value)} stands where a report writes another type")
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        hints.pop("draw", None)
        if value.keys() != hints.keys():
            raise InputError(f"{quoted(value)} is not a {quoted(getattr(kind, '__name__', kind))}")
        parts = {name: from_json(hints[name], item) for name, item in value.items()}
        return kind(**parts)  # type: ignore[operator]
    if origin is dict:
        return {key: from_json(arguments[1], item) for key, item in value.items()}
    return [from_json(arguments[0], item) for item in value] if origin is list else value


def _checksum(content: Json) -> str:
    """Return the CRC-32 of the content of a file, in hex digits."""
    text = json.dumps(content, sort_keys=True, allow_nan=False)
    return f"{zlib.crc32(text.encode()):08x}"


def save_results(folder: Path, kind: str, page: Page) -> None:
    """Write results.json. Raises InputError if it cannot be written."""
    content = {"format": FORMAT, "kind": kind, "page": to_json(page)}
    content = json.loads(json.dumps(content, allow_nan=False))
    text = json.dumps({**content, "checksum": _checksum(content)}, indent=1, ensure_ascii=False)
    with atomic_write(folder / RESULTS) as file:
        file.write((text + "\n").encode())


def load_results(folder: Path) -> tuple[str, Page]:
    """Read the results.json of a report; return its kind and its page.

    Raises
    ------
    InputError
        If it is missing, damaged, or written by another version.
    """
    path = folder / RESULTS
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("kind"), str):
        raise InputError(f"{path} is not what fastlin report writes")
    check_format(path, content, FORMAT)
    if content["kind"] not in KINDS:
        raise InputError(f"{path} is of kind {quoted(content['kind'])}; it must be study or runs")
    if content.get("format") != FORMAT:
        raise InputError(f"{path} was written by an older fastlin; make the report again")
    if content.pop("checksum", None) != _checksum(content):
        raise InputError(f"{path} is damaged, or was changed after it was written")
    try:
        return content["kind"], from_json(Page, content.get("page"))
    except InputError as error:
        raise InputError(f"{path} is damaged: {error}") from None


def save_table(folder: Path, rows: Iterable[Json]) -> None:
    """Write results.csv, numbers exact. Raises InputError if it cannot be written."""
    rows = list(rows)
    columns = dict.fromkeys(name for row in rows for name in row)
    save_csv(folder / TABLE, columns, [map(row.get, columns) for row in rows])
