"""The results of a report on disk: JSON for a page and for machines, CSV for a spreadsheet."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastlin.errors import InputError, quoted
from fastlin.files import atomic_write, check_format, read_json

Json = dict[str, Any]
FORMAT = 1
RESULTS, TABLE = "results.json", "results.csv"
_PARTS = ("arrays", "command", "computed", "grids")  # of every report
_PARTS_OF = {
    "runs": ("detailed", "ranking", "runs", "seed_groups"),
    "study": (
        "best", "conclusions", "data", "details", "epochs", "errors", "experiments",
        "explanations", "full_data", "is_published_data", "noise_errors", "outlook",
        "published_epochs", "seeds", "source", "study_ids", "wrong",
    ),
}  # fmt: skip
_PACKED_DTYPES = frozenset(
    {"float32", "float64"} | {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
)
CURVES = ("train_cost", "val_cost", "train_accuracy", "val_accuracy")
MEASURES = (
    "train_cost", "val_cost", "test_cost", "train_accuracy", "val_accuracy", "test_accuracy",
)  # fmt: skip


def pack(array: NDArray[Any]) -> Json:
    """Return an array as JSON values: dtype, shape and base64 of its bytes, little-endian."""
    array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return {
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "base64": base64.b64encode(array.tobytes()).decode(),
    }


def unpack(packed: Json) -> NDArray[Any]:
    """Return the array that was packed. Raises ValueError, TypeError or KeyError if it is none."""
    content = base64.b64decode(packed["base64"], validate=True)
    shape = packed["shape"]
    if packed["dtype"] not in _PACKED_DTYPES or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"{quoted(packed['dtype'])} {quoted(shape)} is no array of numbers")
    return np.frombuffer(content, np.dtype(packed["dtype"]).newbyteorder("<")).reshape(shape)


def finite(value: Any) -> Any:
    """Return JSON values with None for every number that is not finite."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _checksum(results: Json) -> str:
    """Return the CRC-32 of results as they are in a file, in hex digits."""
    text = json.dumps(results, sort_keys=True, allow_nan=False)
    return f"{zlib.crc32(text.encode()):08x}"


def save_results(folder: Path, results: Json) -> None:
    """Write results.json. Raises InputError if it cannot be written."""
    as_read = json.loads(json.dumps(results, allow_nan=False))
    content = {**as_read, "checksum": _checksum(as_read)}
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)
    with atomic_write(folder / RESULTS) as file:
        file.write((text + "\n").encode())


def load_results(folder: Path) -> Json:
    """Read the results.json of a report.

    Raises
    ------
    InputError
        If it is missing, damaged, or written by another version.
    """
    path = folder / RESULTS
    results = read_json(path)
    if not isinstance(results, dict) or not isinstance(results.get("kind"), str):
        raise InputError(f"{path} is not what fastlin report writes")
    check_format(path, results, FORMAT)
    if results["kind"] not in _PARTS_OF:
        raise InputError(f"{path} is of kind {quoted(results['kind'])}; it must be study or runs")
    checksum = results.pop("checksum", None)
    if checksum is not None and checksum != _checksum(results):  # older versions wrote none
        raise InputError(f"{path} is damaged, or was changed after it was written")
    missing = [name for name in (*_PARTS, *_PARTS_OF[results["kind"]]) if name not in results]
    if missing:
        raise InputError(f"{path} is damaged: it lacks {missing[0]}")
    arrays = results["arrays"]
    if not isinstance(arrays, dict):
        raise InputError(f"{path} is damaged: its arrays are not there by name")
    for name, packed in arrays.items():
        try:
            unpack(packed)
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(
                f"{path} is damaged: the array {quoted(name)} cannot be read ({error})"
            ) from None
    return results


def save_table(folder: Path, rows: list[Json]) -> None:
    """Write results.csv, numbers exact. Raises InputError if it cannot be written."""
    lines = io.StringIO(newline="")
    columns = dict.fromkeys(name for row in rows for name in row)
    writer = csv.DictWriter(lines, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with atomic_write(folder / TABLE) as file:
        file.write(lines.getvalue().encode())


def table(results: Json) -> list[Json]:
    """Return the rows of results.csv."""
    return _study_table(results) if results["kind"] == "study" else _runs_table(results)


def _runs_table(results: Json) -> list[Json]:
    """Return a row per run."""
    return [
        {
            "run": run["name"],
            "data": run["data"]["name"],
            **run["settings"],
            "epochs_finished": run["epochs"],
            **{
                f"{part}_{what}": value
                for part, measured in run["last"].items()
                for what, value in measured.items()
            },
        }
        for run in results["runs"]
    ]


def _study_table(results: Json) -> list[Json]:
    """Return a row per experiment and seed, then a row per candidate of every grid and seed."""
    rows = []
    for found in results["experiments"].values():
        for place, settings in enumerate(found["settings"]):
            rows.append(
                {
                    "experiment": found["id"],
                    **settings,
                    "train_rows": found["train_rows"],
                    **{name: found[name]["values"][place] for name in MEASURES},
                }
            )
    for key, grid in results["grids"].items():
        base = results["experiments"][key]["settings"][0]
        for entry in grid["entries"]:
            for seed in range(grid["seeds"]):
                measured = {name: entry[name]["values"][seed]
                            for name in ("val_accuracy", "test_accuracy")}  # fmt: skip
                settings = {**base, **entry["settings"], "seed": results["seeds"][seed]}
                rows.append({"experiment": f"{key} grid", **settings, **measured})
    return rows
