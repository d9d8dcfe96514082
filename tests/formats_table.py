"""Every format, dtype of rows and kind of labels, written and read: the table of docs/formats.md.

python -m tests.formats_table        writes it
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from fastlin import load_split
from fastlin.data.formats.registry import FORMATS
from fastlin.errors import DataWarning, InputError

PAGE = Path(__file__).parent.parent / "docs" / "formats.md"
N, D = 1100, 1000  # more than a megabyte of uint8, which is mapped
DTYPES = ("uint8", "float16", "bfloat16", "float32", "float64", ">f4", "int16", "uint16", "bool")
_INTEGERS = np.arange(N) % 3

LABELS: dict[str, Any] = {
    "integers": _INTEGERS,
    "integers from 1": _INTEGERS + 1,
    "integers with gaps": np.array([3, 7, 9000])[_INTEGERS],
    "whole floats": _INTEGERS.astype(float),
    "booleans": _INTEGERS > 0,
    "text": np.array(["owl", "cat", "däg"])[_INTEGERS],
    "text as objects": np.array(["owl", "cat", "däg"], object)[_INTEGERS],
    "bytes": np.array([b"owl", b"cat", "däg".encode()])[_INTEGERS],
    "a column (n, 1)": _INTEGERS[:, None],
    "one-hot": np.eye(3, dtype=np.uint8)[_INTEGERS],
    "a missing one": np.where(_INTEGERS == 2, np.nan, _INTEGERS),
    "float targets": _INTEGERS + 0.5,
    "several a row": np.ones((N, 3), np.uint8),
    "one class": _INTEGERS * 0,
}


def rows(dtype: str) -> np.ndarray:
    """Return rows whose values every dtype holds."""
    values = np.random.default_rng(0).integers(0, 2, (N, D))
    if dtype == "bfloat16":
        import ml_dtypes

        return values.astype(ml_dtypes.bfloat16)
    return values.astype(dtype)


# --- writers: rows and labels into a folder; they return the arguments of load_split -----------


def _npy(folder: Path, X: Any, y: Any) -> dict[str, Any]:
    if X.dtype.name == "bfloat16":
        raise NotImplementedError  # NumPy writes it as bytes without a meaning
    np.save(folder / "X.npy", X)
    np.save(folder / "y.npy", y)
    return {"data": folder / "X.npy", "labels": folder / "y.npy"}


def _npz(folder: Path, X: Any, y: Any) -> dict[str, Any]:
    if X.dtype.name == "bfloat16":
        raise NotImplementedError
    np.savez(folder / "a.npz", X=X, y=y)
    return {"data": folder / "a.npz"}


def _table(X: Any, y: Any) -> Any:
    import pyarrow as pa

    if X.dtype.name in {"bfloat16", "bool"} or not X.dtype.isnative or y.ndim > 1:
        raise NotImplementedError
    lists = pa.FixedSizeListArray.from_arrays(pa.array(X.ravel()), X.shape[1])
    return pa.table({"embedding": lists, "label": pa.array(y.tolist())})


def _parquet(folder: Path, X: Any, y: Any) -> dict[str, Any]:
    from pyarrow import parquet

    parquet.write_table(_table(X, y), folder / "a.parquet")
    return {"data": folder / "a.parquet"}


def _feather(folder: Path, X: Any, y: Any) -> dict[str, Any]:
    from pyarrow import feather

    feather.write_feather(_table(X, y), folder / "a.feather", compression="uncompressed")
    return {"data": folder / "a.feather"}


def _csv(folder: Path, X: Any, y: Any) -> dict[str, Any]:
    if X.dtype.name in {"bfloat16", "bool"} or not X.dtype.isnative or y.ndim > 1:
        raise NotImplementedError
    if y.dtype.kind == "S":
        raise NotImplementedError
    lines = [",".join([*(f"f{place}" for place in range(X.shape[1])), "label"])]
    lines += [
        ",".join([*map(str, row), str(label)])
        for row, label in zip(X.tolist(), y.tolist(), strict=True)
    ]
    (folder / "a.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {"data": folder / "a.csv"}


def _safetensors(folder: Path, X: Any, y: Any) -> dict[str, Any]:
    from safetensors.numpy import save_file

    if not X.dtype.isnative or y.dtype.kind not in "biuf":
        raise NotImplementedError  # it holds numbers alone
    save_file({"X": X, "y": y}, folder / "a.safetensors")
    return {"data": folder / "a.safetensors"}


def _hdf5(folder: Path, X: Any, y: Any) -> dict[str, Any]:
    import h5py

    if X.dtype.name == "bfloat16":
        raise NotImplementedError
    with h5py.File(folder / "a.h5", "w") as file:
        file["train/X"], file["train/y"] = X, y.astype(object) if y.dtype.kind == "U" else y
    return {"data": folder / "a.h5"}


def _pytorch(folder: Path, X: Any, y: Any) -> dict[str, Any]:
    import torch

    if not X.dtype.isnative or y.dtype.kind not in "biuf":
        raise NotImplementedError
    if X.dtype.name == "bfloat16":
        tensor = torch.from_numpy(X.astype(np.float32)).to(torch.bfloat16)
    else:
        tensor = torch.from_numpy(X)
    torch.save({"X": tensor, "y": torch.from_numpy(y)}, folder / "a.pt")
    return {"data": folder / "a.pt"}


WRITERS: dict[str, Callable[[Path, Any, Any], dict[str, Any]]] = {
    "NumPy array": _npy,
    "NumPy archive": _npz,
    "Parquet": _parquet,
    "Arrow": _feather,
    "CSV": _csv,
    "safetensors": _safetensors,
    "HDF5": _hdf5,
    "PyTorch": _pytorch,
}
PACKAGES = {known.name: known.packages for known in FORMATS} | {"CSV": ("pyarrow",)}


# --- what comes of each ------------------------------------------------------------------------


def of_rows(name: str, dtype: str) -> str:
    """Return in a few words how rows of a dtype are read from a format."""
    X = rows(dtype)
    found = _written_and_read(name, X, _INTEGERS)
    if not isinstance(found, tuple):
        return found
    split, _ = found
    read = split.train.X
    assert np.array_equal(read.astype(np.float64), X.astype(np.float64))
    how = "mapped" if _is_mapped(read) else "read"
    same = read.dtype.newbyteorder("=") == X.dtype
    return f"{how}" if same else f"becomes {read.dtype}"


def of_labels(name: str, kind: str) -> str:
    """Return the classes that labels of a kind give, or why they are refused."""
    y = LABELS[kind]
    found = _written_and_read(name, rows("float32")[:, :4], y)
    if not isinstance(found, tuple):
        return found
    split, _ = found
    names = split.train.class_names
    expected = y.argmax(axis=1) if kind == "one-hot" else y.ravel()
    for number, label in zip(split.train.y.tolist(), expected.tolist(), strict=True):
        text = label.decode() if isinstance(label, bytes) else label
        text = int(text) if isinstance(text, float) else text
        assert names[number] == str(text)
    return ", ".join(names)


def _written_and_read(name: str, X: Any, y: Any) -> str | tuple[Any, list[str]]:
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DataWarning)
        try:
            arguments = WRITERS[name](Path(place), X, y)
        except NotImplementedError:
            return "-"
        try:
            split = load_split(**arguments)
        except InputError as error:
            return f"refused: {_reason(str(error))}"
        return split, [str(warning.message) for warning in caught]


def _reason(message: str) -> str:
    reasons = {
        "no label in row": "a missing label",
        "float targets": "float targets",
        "multi-label": "multi-label",
        "at least 2 classes": "one class alone",
    }
    return next(text for found, text in reasons.items() if found in message)


def _is_mapped(X: Any) -> bool:
    """Return whether the values are in a file, as Linux tells it of every address."""
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        addresses, _, rest = line.partition(" ")
        first, last = (int(address, 16) for address in addresses.split("-"))
        if first <= X.ctypes.data < last:
            return "/" in rest
    return False


def installed(name: str) -> bool:
    """Return whether what reads and writes a format is installed."""
    return all(find_spec(package) is not None for package in (*PACKAGES[name], "ml_dtypes"))


def lines(name: str) -> list[str]:
    """Return the two lines of a format, one for each table."""
    return [
        f"| {name} | {' | '.join(of_rows(name, dtype) for dtype in DTYPES)} |",
        f"| {name} | {' | '.join(of_labels(name, kind) for kind in LABELS)} |",
    ]


def page(of_format: Callable[[str], list[str]] = lines) -> Iterator[str]:
    """Give the lines of the page."""
    found = {name: of_format(name) for name in WRITERS}
    yield "# Formats"
    yield ""
    yield "Every format, dtype of rows and kind of labels, as `python -m tests.formats_table` wrote"
    yield "and read them. `mapped` rows stay in the file; `read` ones are in memory as they were"
    yield "stored; `-` is what a format cannot hold."
    for title, headings, place in (("Rows", DTYPES, 0), ("Labels", tuple(LABELS), 1)):
        yield ""
        yield f"## {title}"
        yield ""
        yield f"| | {' | '.join(headings)} |"
        yield "|---|" + "---|" * len(headings)
        yield from (found[name][place] for name in WRITERS)


def main() -> int:
    """Write the page. All packages must be installed."""
    missing = [name for name in WRITERS if not installed(name)]
    if missing:
        sys.stderr.write(f"not installed: what reads {', '.join(missing)}\n")
        return 1
    PAGE.write_text("\n".join(page()) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
