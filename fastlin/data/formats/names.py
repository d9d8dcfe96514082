"""What the usual names of arrays and columns mean: rows or labels, and of which part."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from numpy.typing import NDArray

from fastlin.errors import InputError, quoted

PARTS = ("train", "val", "test")
CLASS_NAMES = ("class_names", "label_names", "target_names")
FEATURE_NAMES = "feature_names"
IMAGE_SHAPE = "image_shape"

_ROWS = "X|features?|feats|embeddings?|embeds|images?|data|inputs?|pixel_values"
_LABELS = "y|labels?|targets?|class|species|category"
_PART = {"train": "train(?:ing)?|tr", "val": "val(?:id(?:ation)?)?|dev", "test": "test(?:ing)?|te"}
_OF_PART = "|".join(f"(?P<{part}{{0}}>{words})" for part, words in _PART.items())
_NAME = re.compile(
    rf"(?:(?:{_OF_PART.format(1)})[_./ -]?)?(?:(?P<X>{_ROWS})|(?P<y>{_LABELS})|(?P<ids>ids?))"
    rf"(?:[_./ -]?(?:{_OF_PART.format(2)}))?",
    re.IGNORECASE,
)
_LABEL_COLUMN = re.compile(_LABELS, re.IGNORECASE)
_NUMBER_COLUMN = re.compile(
    r"id|ids|index|row|row_?(?:id|number)|Unnamed: 0|__index_level_0__|", re.IGNORECASE
)


class Numbered(dict[str, NDArray[Any]]):
    """Columns of a table that has no names for them: they are called by their places, 0, 1, ..."""


def meaning_of(name: str) -> str | None:
    """Return ``X_train``, ``y_val``, ``ids_test`` ... for the name of an array; None if unusual.

    Without a part it is the training part: X, features, labels. Letters may be small or capital.
    """
    if name.lower() in CLASS_NAMES:
        return CLASS_NAMES[0]
    if name.lower() in {IMAGE_SHAPE, FEATURE_NAMES}:
        return name.lower()
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    parts = [part for part in PARTS for place in "12" if found[f"{part}{place}"]]
    if len(parts) > 1:
        return None
    what = next(what for what in ("X", "y", "ids") if found[what])
    return f"{what}_{parts[0] if parts else PARTS[0]}"


def by_meaning(names: Iterable[str]) -> dict[str, str]:
    """Return the names of arrays by what they mean; those that mean nothing are left out.

    Raises
    ------
    InputError
        If two names mean the same.
    """
    found: dict[str, str] = {}
    for name in names:
        meaning = meaning_of(name)
        if meaning is not None:
            other = found.setdefault(meaning, name)
            if other != name:
                raise InputError(
                    f"there are both {quoted(other)} and {quoted(name)}; keep one of them"
                )
    return found


def is_label_column(name: str) -> bool:
    """Return whether a column of a table has a usual name of labels."""
    return _LABEL_COLUMN.fullmatch(name) is not None


def is_id_column(name: str) -> bool:
    """Return whether a column of a table has a usual name of what rows are known by."""
    return name.lower() in {"id", "ids"}


def is_row_number(name: str) -> bool:
    """Return whether a column of a table has a usual name of the number of a row."""
    return _NUMBER_COLUMN.fullmatch(name) is not None
