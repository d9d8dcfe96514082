"""Where data came from, in words that find them again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from fastlin.data.checks import check_scale
from fastlin.data.memory import check_memory
from fastlin.data.splits import check_fraction
from fastlin.data.stored import blocks_of
from fastlin.errors import InputError, quoted

if TYPE_CHECKING:
    from fastlin.data.dataset import Dataset


@dataclass(frozen=True)
class DataReference:
    """How to find data again: the arguments of `fastlin.load_split`.

    Attributes
    ----------
    data : str
        A known name, or a path.
    split : str or None
        The name of a split; None for the default.
    data_dir : str or None
        The folder to look in; None for the usual places.
    sha256 : str or None
        The fingerprint of the data that were found; None if it is not known.
    labels : str or None
        Where the labels of the training rows are, if not with them.
    val_data, val_labels, test_data, test_labels : str or None
        Where validation and test rows are, if not in `data`, and their labels, if not with them.
    scale : float or None
        What stored values are multiplied by, where that was said.
    val_fraction : float or None
        The share of the training rows that is held out for validation, where none are given.
    sample_weight : str or None
        Where the weights of rows are, if there are any.
    memory : str or None
        How much memory rows may take, such as ``2GB``, where that was said.
    """

    data: str
    split: str | None = None
    data_dir: str | None = None
    sha256: str | None = None
    labels: str | None = None
    val_data: str | None = None
    val_labels: str | None = None
    test_data: str | None = None
    test_labels: str | None = None
    scale: float | None = None
    val_fraction: float | None = None
    sample_weight: str | None = None
    memory: str | None = None

    def __post_init__(self) -> None:
        if self.scale is not None:
            object.__setattr__(self, "scale", check_scale(self.scale))
        if self.val_fraction is not None:
            object.__setattr__(self, "val_fraction", check_fraction(self.val_fraction))
        if self.memory is not None:
            object.__setattr__(self, "memory", check_memory(self.memory))
        for name, value in asdict(self).items():
            if (
                name not in {"scale", "val_fraction"}
                and not isinstance(value, str)
                and (value is not None or name == "data")
            ):
                raise InputError(f"{name} is {quoted(value)}; it must be text")

    @classmethod
    def from_dict(cls, content: Any) -> Self:
        """Build a reference from JSON values.

        Raises
        ------
        InputError
            If it is no dictionary with ``data`` and, if at all, other fields of a reference.
        """
        known = [field.name for field in fields(cls)]
        if not isinstance(content, dict) or "data" not in content:
            raise InputError("it must name the data that were trained on, as 'data'")
        for name in content:
            if name not in known:
                raise InputError(
                    f"unknown key {quoted(name)} in 'data'; the keys are {', '.join(known)}"
                )
        return cls(**content)

    def of_part(self, part: str) -> tuple[str | None, str | None]:
        """Return where the rows of a part (train, val, test) are, and their labels."""
        if part == "train":
            return self.data, self.labels
        return getattr(self, f"{part}_data"), getattr(self, f"{part}_labels")

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `fastlin.load_split` that are not its defaults."""
        values = {name: getattr(self, name) for name in ARGUMENTS}
        return {name: value for name, value in values.items() if value is not None}


# Of `fastlin.load_split`; the commands have an option for each.
ARGUMENTS = tuple(field.name for field in fields(DataReference) if field.name != "sha256")
PLACES = (  # files and folders
    "data", "labels", "val_data", "val_labels", "test_data", "test_labels", "sample_weight",
)  # fmt: skip


def fingerprint_of(parts: Mapping[str, Dataset]) -> str:
    """Return the SHA-256 of the parts of a split by name; see `fastlin.Split.fingerprint`."""
    digest = hashlib.sha256()
    for name, data in parts.items():
        described = {
            "part": name, "shape": data.X.shape, "dtype": data.X.dtype.str,
            "scale": data.feature_scale, "image_shape": data.image_shape,
            "class_names": data.class_names,
        }  # fmt: skip
        digest.update(json.dumps(described).encode())
        for _, block in blocks_of(data.X):
            digest.update(block.view(np.uint8).data)  # bfloat16 has no buffer of its own
        digest.update(data.y.data)
        if data.weights is not None:
            digest.update(data.weights.data)
    return digest.hexdigest()
